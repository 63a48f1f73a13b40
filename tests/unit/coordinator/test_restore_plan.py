"""What a restore plans: nothing twice, no mailbox by two workers, no two mailboxes into one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailhaul.coordinator import backup_set, restore_plan
from mailhaul.coordinator.backup_set import BackupSet
from mailhaul.coordinator.history import MailboxVersion
from mailhaul.coordinator.restoration import RestoreWork
from mailhaul.coordinator.restore_plan import RestorePlan, names_mailbox, paths_of_failures, plan_restore
from mailhaul.coordinator.restores.journal import Journal
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import DamagedError, NotFoundError, UsageError
from mailhaul.proto.records import ArchiveId, Partition, RunId
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import in_files
from mailhaul.worker.archives.opened import OpenArchives

RUN = RunId("20261121T031500Z-4f3a")
TARGET = Partition(name="x", format="maildir", path="/x")


def version(
    user: str, *, group: str = "user", partition: str = "p", shard: int = 0, size: int = 10
) -> MailboxVersion:
    return MailboxVersion(
        partition=partition,
        group=group,
        user=user,
        run=RUN,
        shard=shard,
        archive=ArchiveId(f"{partition}{group}{shard}".encode()),
        folders=1,
        listed=3,
        stored=3,
        skipped=0,
        size_bytes=size,
    )


@pytest.fixture(autouse=True)
def no_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archives can't be read: a plan is made all the same, and the tasks tell of the damage."""

    def unreadable(archives: OpenArchives, archive: ArchiveId, user: str) -> None:
        raise DamagedError("gone")

    monkeypatch.setattr(restore_plan, "StoredMailbox", unreadable)


def plan(
    versions: Sequence[MailboxVersion],
    *paths: str,
    as_user: str | None = None,
    workers: int = 1,
    **targets: Partition,
) -> RestorePlan:
    archives = in_files(
        {mailbox_version.archive: mailbox_version.archive.decode() for mailbox_version in versions}
    )
    return plan_restore(
        BackupSet(versions=tuple(versions), archives=archives),
        [LogicalPath.parse(path) for path in paths],
        targets or {"p": TARGET, "q": TARGET},
        as_user=as_user,
        workers=workers,
    )


def users(made: RestorePlan) -> list[list[str]]:
    return [[choice.user for choice in task.task.choices] for task in made.tasks]


def test_tasks_share_the_work() -> None:
    made = plan([version(f"u{i}") for i in range(8)], "/", workers=2)
    assert users(made) == [["u0", "u1"], ["u2", "u3"], ["u4", "u5"], ["u6", "u7"]]
    assert [(task.messages, task.size_bytes) for task in made.tasks] == [(6, 20)] * 4
    assert (made.messages, made.size_bytes) == (24, 80)
    assert len({planned_task.task.label for planned_task in made.tasks}) == 4
    assert [
        len(some) for some in users(plan([version("big", size=70), version("a"), version("b")], "/"))
    ] == [1, 2]


def test_what_is_restored_before_workers_are_loaded() -> None:
    assert plan([version("jane", size=1 << 20)], "/", p=TARGET).is_small
    assert not plan([version("jane", size=1 << 30)], "/", p=TARGET).is_small
    assert not plan([version(f"user{number}") for number in range(100)], "/", p=TARGET).is_small


def test_nothing_is_restored_twice() -> None:
    versions = [version("u0"), version("u1")]
    for paths in (("/", "/p/user/u0"), ("/p/user/u0", "/p"), ("/p/user/u0/A", "/p/user/u0/A/B/", "/")):
        assert users(plan(versions, *paths)) == [["u0", "u1"]] or users(plan(versions, *paths)) == [
            ["u0"],
            ["u1"],
        ]


def test_parts_of_a_mailbox_stay_with_one_worker() -> None:
    versions = [version("u0"), version("u1")]
    made = plan(versions, "/p/user/u0/A", "/p/user/u1", "/p/user/u0/B", workers=8)
    assert users(made) == [["u0", "u0"], ["u1"]]


def test_two_mailboxes_never_become_one() -> None:
    versions = [version("u0"), version("u1"), version("u0", partition="q")]
    with pytest.raises(UsageError, match="would become that of 'bob'"):
        plan(versions, "/p", as_user="bob")
    with pytest.raises(UsageError, match="would become that of 'u0'"):
        plan(versions, "/")
    made = plan(versions, "/", p=TARGET, q=Partition(name="y", format="maildir", path="/y"))
    assert len(made.mailboxes) == 3
    grouped = [version("u0", group="a"), version("u0", group="b")]
    with pytest.raises(UsageError, match="one at a time"):
        plan(grouped, "/p/a/u0/A", "/p/b/u0/B")


def test_who_has_no_place_may_lie_where_another_does() -> None:
    """Somebody who is renamed has none: it depends on what is in the target."""
    first, second = plan([version("ann"), version("bob")], "/").mailboxes
    placed = replace(second, choice=replace(second.choice, place=b"bob/Maildir"))
    renamed = replace(first, choice=replace(first.choice, to_user="bob"))
    for chosen in ([placed, renamed], [renamed, placed]):
        assert [conflict.user for conflict in restore_plan._conflicts(chosen)] == ["bob"]
    assert list(restore_plan._conflicts([placed, placed])) == []


def test_every_partition_needs_a_target() -> None:
    with pytest.raises(UsageError, match="--to FORMAT:DIR"):
        plan([version("u0", partition="q")], "/", p=TARGET)


def test_an_attempt_knows_how_long_the_restore_has_been_under_way() -> None:
    (planned,) = plan([version("u0")], "/").tasks
    work = RestoreWork(task=planned.task, journal=Journal(), elapsed=lambda: 41.5)
    assert work.attempted("", 2).under_way_seconds == 41.5


def test_what_the_backup_does_not_hold() -> None:
    with pytest.raises(NotFoundError, match="/p/user/u1: the backup holds nothing of it"):
        plan([version("u0")], "/p/user/u0", "/p/user/u1")


def test_what_failed_is_all_that_is_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [version(f"u{i}", group="staff" if i % 2 else "user") for i in range(1000)]
    versions.append(version("u2", partition="q"))
    failed = [
        "/p/user/u2/INBOX/7",
        "/p/user/u2/Sent",
        "/p/staff/u5",
        "/p/user/u8/subscriptions",
        "/q/user/u2",
    ]
    looked_at: list[str] = []

    def noted(backup: BackupSet, archives: OpenArchives, version: MailboxVersion) -> tuple[ArchiveId, ...]:
        looked_at.append(version.user)
        return real(backup, archives, version)

    real = backup_set.needs_of
    monkeypatch.setattr(restore_plan, "needs_of", noted)
    for asked, paths in (
        (["/"], ["/p/user/u2", "/p/staff/u5", "/p/user/u8", "/q/user/u2"]),
        (["/p/user", "/p/staff"], ["/p/user/u2", "/p/staff/u5", "/p/staff/u5", "/p/user/u8"]),
        (["/p/user/u2/INBOX", "/p/user/u5/Sent"], ["/p/user/u2/INBOX", "/p/staff/u5/Sent"]),
    ):
        found = paths_of_failures([LogicalPath.parse(one) for one in asked], failed)
        assert [str(path) for path in found] == paths
        looked_at.clear()
        made = plan(versions, *paths, p=TARGET, q=replace(TARGET, path="/q"))
        assert len(looked_at) == len(made.mailboxes) == len(set(paths))


@pytest.mark.parametrize(("path", "named"), [("/p/g/u", True), ("/p/g/u/INBOX/1", True), ("/p/g", False)])
def test_losses_of_a_group_name_no_mailbox(path: str, named: bool) -> None:
    assert names_mailbox(path) is named


def test_many_paths_take_no_longer_than_few() -> None:
    versions = [version(f"u{i}") for i in range(5_000)]
    paths = [f"/p/user/u{i}" for i in range(5_000)]
    assert len(plan(versions, *paths, "/p/user/u7/INBOX").mailboxes) == 5_000
    assert len(plan(versions[:50], *paths[:50], "/p").mailboxes) == 50
