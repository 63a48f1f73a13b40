"""A restore that brings the newest mail first: which mailbox comes when, and who comes before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailhaul.coordinator import newest_first
from mailhaul.coordinator.dispatch.engine import Outcome
from mailhaul.coordinator.newest_first import AGES, NAME, Ahead, passes_of, run_newest_first
from mailhaul.coordinator.restore_plan import RestorePlan, narrowed
from mailhaul.coordinator.restores.journal import Journal
from mailhaul.proto.errors import StagingError, TargetFullError
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import (
    FOLDERS,
    Partition,
    Progress,
    RestoredMailbox,
    RestoreReport,
    RestoreTaskReport,
)
from mailhaul.proto.restored import encode
from mailhaul.proto.structs import replace
from mailhaul.tests.unit.coordinator.test_restore_plan import plan, version
from mailhaul.worker.choice import Choice, Extent
from mailhaul.worker.tasks.restore import RestoreTask, run_restore

MOMENT = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
PASSES = passes_of(MOMENT)
NEWEST = PASSES[1].reach


def days_ago(days: float) -> int:
    return int((MOMENT - timedelta(days=days)).timestamp() * 1e9)


class Workers:
    """Restore in memory: notes who comes when. ``last_seen`` is the age in days of the newest mail that each
    user has seen, ``mail`` how many messages each has in each slice; ``before_each`` is called before each
    task, ``fail`` says which fails."""

    def __init__(self, last_seen: dict[str, float] | None = None, **mail: tuple[int, ...]) -> None:
        self.last_seen = last_seen or {}
        self.mail = mail
        self.order: list[tuple[str, str]] = []
        self.tasks: list[list[str]] = []
        self.before_each: Callable[[int], object] = lambda _: None
        self.fail: Callable[[RestoreTask], Exception | None] = lambda _: None

    def __call__(
        self, function: Callable[..., Any], tasks: Sequence[Any], on_progress: ProgressSink
    ) -> Iterator[Outcome[Any, Any]]:
        assert function is run_restore
        for one in tasks:
            self.before_each(len(self.tasks))
            task = one.attempted("", 1)
            self.tasks.append([choice.to_user for choice in task.choices])
            if error := self.fail(task):
                yield Outcome(task=one, error=error)  # type: ignore[arg-type]
                continue
            done = [self._restored(choice) for choice in task.choices]
            for number, mailbox in enumerate(done):
                total = sum((each.report for each in done[: number + 1]), RestoreReport())
                on_progress(Progress(task.label, total.restored, total.size_bytes, done=(encode(mailbox),)))
            yield Outcome(task=one, report=RestoreTaskReport(mailboxes=tuple(done)))

    def _restored(self, choice: Choice) -> RestoredMailbox:
        self.order.append((choice.to_user, choice.reach))
        amounts = self.mail.get(choice.to_user, (1, 1, 1, 1))
        restored = 0
        if choice.extent is Extent.FRAME:
            assert [one.slice for one in PASSES[1:]] == list(choice.ages)
        else:
            restored = amounts[[one.reach for one in PASSES].index(choice.reach) - 1]
        archive, path, reach = choice.key
        return RestoredMailbox(
            archive=archive,
            path=path,
            report=RestoreReport(restored=restored, size_bytes=10 * restored),
            reach=reach,
            ages=tuple((amount, 10 * amount) for amount in amounts) if reach == FOLDERS else (),
            last_seen_ns=days_ago(self.last_seen.get(choice.to_user, 400)) if reach == FOLDERS else 0,
        )


def run(
    made: RestorePlan, workers: Workers, journal: Journal | None = None, ahead: Sequence[str] = ()
) -> RestoreReport:
    return run_newest_first(
        made,
        PASSES,
        workers,
        lambda _: None,
        Journal() if journal is None else journal,
        Ahead(look=lambda: list(ahead)),
    )


def everybody(*users: str) -> RestorePlan:
    return plan([version(user) for user in users], "/")


def test_the_passes() -> None:
    reaches = [one.reach for one in PASSES]
    assert reaches == [FOLDERS, *((MOMENT - age).isoformat() for age in AGES), ""]
    assert PASSES[0].slice is None
    slices = [one.slice for one in PASSES[1:] if one.slice]
    assert (slices[0].until_ns, slices[-1].since_ns) == (None, None)
    assert [one.since_ns for one in slices[:-1]] == [one.until_ns for one in slices[1:]]
    assert slices[0].since_ns == days_ago(14)


def test_the_newest_of_all_before_older_mail_of_anybody() -> None:
    workers = Workers({"b": 1, "c": 30})
    report = run(everybody("a", "b", "c"), workers)
    assert [one for one, _ in workers.order[3:]] == ["b", "c", "a"] * 4
    assert [reach for _, reach in workers.order] == [one.reach for one in PASSES for _ in range(3)]
    assert (report.restored, report.size_bytes) == (12, 120)


def test_mailboxes_without_mail_of_that_time_are_passed_over() -> None:
    workers, journal = Workers(a=(0, 0, 0, 5), b=(2, 0, 3, 0)), Journal()
    report = run(everybody("a", "b"), workers, journal)
    whole = ""
    assert workers.order[2:] == [("b", NEWEST), ("b", PASSES[3].reach), ("a", whole), ("b", whole)]
    assert report.restored == 10
    assert dict(journal.reaches()) == {"/p/user/a": "", "/p/user/b": ""}
    assert len(journal) == 2


def test_who_is_named_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the newest mail at once, if there are only folders; before all others in what follows."""
    monkeypatch.setattr(newest_first, "_MOST_MAILBOXES", 2)
    users = [f"u{number}" for number in range(8)]
    workers, named = Workers({"u5": 1}), list[str]()

    def name(task: int) -> None:
        if task == 1:
            named.extend(["u7", "nobody", "u6"])

    workers.before_each = name
    journal = Journal()
    report = run(everybody(*users), workers, journal, named)
    folders = workers.order[: workers.order.index(("u3", FOLDERS))]
    assert folders[2:] == [("u7", FOLDERS), ("u7", NEWEST), ("u6", FOLDERS), ("u6", NEWEST), ("u2", FOLDERS)]
    rest = [user for user, reach in workers.order if reach == NEWEST]
    assert rest[:3] == ["u7", "u6", "u5"]
    for one in PASSES[2:]:
        assert [user for user, reach in workers.order if reach == one.reach][:2] == ["u7", "u6"]
    assert sorted(workers.order) == sorted((user, one.reach) for user in users for one in PASSES)
    assert report.restored == 32


def test_what_a_worker_does_at_once_is_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest_first, "_MOST_MESSAGES", 10)
    workers = Workers(a=(4, 0, 0, 1), b=(6, 0, 0, 1), c=(1, 0, 0, 1), d=(50, 0, 0, 1))
    run(everybody("a", "b", "c", "d"), workers)
    assert workers.tasks == [["a", "b"], ["c", "d"], ["a", "b"], ["c"], ["d"], ["a", "b"], ["c", "d"]]


def test_on_the_hosts_of_the_target() -> None:
    """Lots for one host are no work for another."""
    x = Partition(name="x", format="maildir", path="/x", hosts=("one",))
    y = replace(x, name="y", hosts=("two",))
    made = plan([version("a"), version("b", partition="q")], "/", p=x, q=y)
    seen: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    workers = Workers()

    def engine(
        function: Callable[..., Any], tasks: Sequence[Any], on_progress: ProgressSink
    ) -> Iterator[Outcome[Any, Any]]:
        seen.extend((task.hosts, task.attempted("", 1).hosts) for task in reversed(tasks))
        return workers(function, tasks, on_progress)

    run_newest_first(made, PASSES, engine, lambda _: None, Journal(), Ahead(look=list))
    assert seen
    assert all(asked == got for asked, got in seen)


def renamed(task: RestoreTask) -> RestoreTask:
    """The same for users who are called differently now."""
    return replace(
        task, choices=tuple(replace(choice, to_user=f"new {choice.user}") for choice in task.choices)
    )


def test_who_is_named_comes_first_on_each_host() -> None:
    """By the name that is used there."""
    x = Partition(name="x", format="maildir", path="/x", hosts=("one",))
    y = replace(x, name="y", hosts=("two",))
    stored = [version(user, partition=name) for name in ("p", "q") for user in ("a", "b", "c", "d")]
    made = plan(stored, "/", workers=4, p=x, q=y)
    tasks = tuple(replace(task, task=renamed(task.task)) for task in made.tasks)
    seen: list[tuple[tuple[str, ...], str, str]] = []

    def engine(
        function: Callable[..., Any], tasks: Sequence[Any], on_progress: ProgressSink
    ) -> Iterator[Outcome[Any, Any]]:
        del function, on_progress
        for task in tasks:
            first = task.attempted("", 1).choices[0]
            seen.append((task.hosts, first.to_user, first.reach))
        return iter(())

    ahead = Ahead(look=lambda: ["b", "new d"])
    run_newest_first(replace(made, tasks=tasks), PASSES[:2], engine, lambda _: None, Journal(), ahead)
    assert {hosts: user for hosts, user, _ in reversed(seen)} == {("one",): "new d", ("two",): "new d"}


def test_goes_on_where_it_was_ended() -> None:
    whole, journal, made = Workers(), Journal(), everybody("a", "b")
    run(made, whole, journal)
    lines = [
        RestoredMailbox(
            archive=made.mailboxes[0].choice.archive,
            path=f"/p/user/{user}",
            report=RestoreReport(restored=reach != FOLDERS),
            reach=reach,
            ages=((1, 10),) * 4 if reach == FOLDERS else (),
        )
        for user, reach in whole.order[:3]
    ]
    again = Workers()
    report = run(made, again, Journal(earlier=iter(lines)))
    assert again.order == whole.order[3:]
    assert report.restored == 8


def test_what_fails_is_told_once() -> None:
    workers = Workers()
    workers.fail = lambda task: StagingError("gone") if task.choices[0].to_user == "a" else None
    report = run(plan([version("a", shard=1), version("b")], "/"), workers)
    assert [(skip.path, skip.reason) for skip in report.skipped] == [("/p/user/a", "staging")]
    assert report.restored == 4


@pytest.mark.parametrize("number", [0, 2])
def test_what_failed_comes_before_older_mail_of_its_mailbox(number: int) -> None:
    """A mailbox with its oldest mail counts as whole: who goes on would leave out what failed before."""
    made, journal, workers = plan([version("a", shard=1), version("b")], "/"), Journal(), Workers()

    def fail(task: RestoreTask) -> Exception | None:
        first = task.choices[0]
        return StagingError("gone") if (first.to_user, first.reach) == ("a", PASSES[number].reach) else None

    workers.fail = fail
    report = run(made, workers, journal)
    assert [skip.path for skip in report.skipped] == ["/p/user/a"]
    assert ("/p/user/a", "") not in journal.reaches()
    assert len(journal) == 1
    again = Workers()
    report = run(narrowed(made, journal), again, journal)
    assert again.order == [("a", one.reach) for one in PASSES[number:]]
    assert (report.restored, report.skipped) == (8, ())


def test_a_full_target_ends_it() -> None:
    workers = Workers()
    workers.fail = lambda task: TargetFullError("full") if task.choices[0].reach == NEWEST else None
    with pytest.raises(TargetFullError):
        run(everybody("a"), workers)
    assert [reach for _, reach in workers.order] == [FOLDERS]


def test_progress_is_that_of_all() -> None:
    told: list[Progress] = []
    run_newest_first(everybody("a", "b"), PASSES, Workers(), told.append, Journal(), Ahead(look=list))
    assert {progress.unit for progress in told} == {NAME}
    assert [one.messages for one in told] == sorted(one.messages for one in told)
    assert (told[-1].messages, told[-1].size_bytes) == (8, 80)
