"""Restores that brought back less than was asked for: who hears of it, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.notices.conditions import released
from mailhaul.coordinator.notices.operation_notices import OperationNotices
from mailhaul.coordinator.notices.raising import acknowledge
from mailhaul.coordinator.notices.records import Standing
from mailhaul.coordinator.notices.restore_notices import is_attempt, tell_of_restore
from mailhaul.coordinator.restores.record import Order, begun
from mailhaul.coordinator.restores.report import write_report
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Kind, Operation, Request, State
from mailhaul.coordinator.serving.queue import QueueObserver
from mailhaul.proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, EXIT_USAGE
from mailhaul.proto.records import RestoreReport, Skipped
from mailhaul.tests.watched import FakeClock

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
JANE = "/primary/user/jane"
ABSENT = Skipped(f"{JANE}/Archive/7", "quota", "no room")
ALTERED = Skipped(f"{JANE}/Archive/8", "owner", "not permitted")


def said(staging: Path) -> list[tuple[str, str]]:
    return [(saying.kind, saying.notice.subject) for saying in reversed(NoticeRecord(staging).sayings(99))]


def lasting(staging: Path) -> Standing:
    (standing,) = NoticeRecord(staging).lasting()
    return standing


def restored(
    staging: Path, words: Sequence[str], *skipped: Skipped, error: str = "", retries: str = ""
) -> str:
    """A restore that has ended with what it skipped, or with an error; its id."""

    def order(restore: str, now: datetime) -> Order:
        return Order(
            restore=restore,
            begun=now,
            arguments=tuple(words),
            directory="/",
            moment="",
            run="",
            mailboxes=3,
            retries=retries,
        )

    with begun(staging, FakeClock(), order, lambda _: None) as record:
        write_report(record, NOW, RestoreReport(restored=5, skipped=skipped), error=error)
        return record.order.restore


def test_what_is_lacking_is_said_with_what_helps(tmp_path: Path) -> None:
    restore = restored(tmp_path, (JANE,), ALTERED, ABSENT)
    tell_of_restore(tmp_path, "restore", (JANE, "--json"), EXIT_SKIPPED, "", restore, NOW)
    assert said(tmp_path) == [("new", f"Restore of {JANE} did not bring back all")]
    notice = lasting(tmp_path).notice
    assert (notice.event, notice.cause) == ("failed", f"failed:restore {JANE}")
    assert notice.lines[0] == "0 of 3 mailboxes came back; 1 not there; 1 there, but not as it was."
    assert notice.lines[1].startswith(f"{JANE}/Archive/7: no room. What helps: give the user more room")
    assert f"`mailhaul restore --retry {restore}` tries again what is not there" in notice.lines
    assert notice.facts["absent"] == notice.facts["altered"] == 1


def test_what_is_there_but_not_as_it_was_is_no_failure(tmp_path: Path) -> None:
    restore = restored(tmp_path, (JANE,), ALTERED)
    tell_of_restore(tmp_path, "restore", (JANE,), EXIT_SKIPPED, "", restore, NOW)
    assert lasting(tmp_path).notice.event == "skipped"
    assert said(tmp_path) == [("new", f"Restore of {JANE} left something not as it was")]


@pytest.mark.parametrize("words", [(JANE,), ("--retry", "latest")])
def test_the_same_once_more_or_what_failed_in_it_ends_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    first = restored(tmp_path, (JANE,), ABSENT)
    tell_of_restore(tmp_path, "restore", (JANE,), EXIT_SKIPPED, "", first, NOW)
    again = restored(tmp_path, (JANE, "--at", "2026-03-01"), ABSENT, retries=first)
    tell_of_restore(tmp_path, "restore", ("--retry", first), EXIT_FAILED, "", again, NOW)
    assert len(said(tmp_path)) == 1  # it is the same matter
    others = restored(tmp_path, ("/primary/user/joe",))
    tell_of_restore(tmp_path, "restore", ("/primary/user/joe",), EXIT_OK, "", others, NOW)
    assert lasting(tmp_path).times == 2
    last = restored(tmp_path, (JANE,), retries=again if words[0] == "--retry" else "")
    tell_of_restore(tmp_path, "restore", words, EXIT_OK, "", last, NOW)
    assert said(tmp_path)[1:] == [("over", f"Restore of {JANE} failed")]  # as it was last


def test_one_that_was_stopped_or_never_began_says_so_and_an_acknowledgement_ends_it(tmp_path: Path) -> None:
    stopped = restored(tmp_path, (JANE,), error="the disk is full; go on with: mailhaul restore --resume X")
    tell_of_restore(tmp_path, "restore", (JANE,), EXIT_FAILED, "the disk is full", stopped, NOW)
    assert f"`mailhaul restore --resume {stopped}` goes on with it" in lasting(tmp_path).notice.lines
    tell_of_restore(tmp_path, "undelete", (JANE, "--from", "2026-01-01"), EXIT_DAMAGED, "", "", NOW)
    assert said(tmp_path)[1:] == [("new", f"Undelete of {JANE} met damaged data")]
    released(tmp_path, NOW)
    assert len(NoticeRecord(tmp_path).lasting()) == 2
    for standing in NoticeRecord(tmp_path).lasting():
        acknowledge(tmp_path, standing.notice.cause, "cli:root", NOW)
    released(tmp_path, NOW)
    assert NoticeRecord(tmp_path).lasting() == ()


def test_what_only_looks_is_no_restore() -> None:
    assert is_attempt("restore", (JANE, "--to", "maildir:/x"))
    for words in ((JANE, "--dry-run"), (JANE, "--list"), ("--first", "jane"), ("--first=jane",)):
        assert not is_attempt("restore", words)
    assert not is_attempt("sweep", ())


class TestOperations:
    @staticmethod
    def ended(staging: Path, state: State, status: int | None, carries: str, kind: Kind) -> Operation:
        queue = Operations(staging)
        number = queue.add(Request(kind=kind, arguments=(JANE,), asked_by="page:anna"), NOW).id
        queue.begin(number, 7, NOW)
        queue.carries(number, carries)
        queue.end(number, state, NOW, exit_status=status, error="" if state == "partial" else "no room")
        return queue.get(number)

    @pytest.mark.parametrize("kind", ["restore", "undelete"])
    @pytest.mark.parametrize(
        ("state", "status", "how"),
        [
            ("partial", EXIT_SKIPPED, "did not bring back all"),
            ("partial", None, "did not bring back all"),  # killed when it had done all, before it said so
            ("failed", EXIT_FAILED, "failed"),
            ("failed", None, "failed"),
            ("failed", EXIT_USAGE, "failed"),
            ("failed", -9, "failed"),
            ("failed", EXIT_DAMAGED, "met damaged data"),
        ],
    )
    def test_those_of_the_page(
        self, tmp_path: Path, kind: Kind, state: State, status: int | None, how: str
    ) -> None:
        told: list[str] = []
        notices = OperationNotices(tmp_path, lambda: NOW, QueueObserver(), told.append)
        restore = restored(tmp_path, (JANE,), ABSENT)
        notices.ended(self.ended(tmp_path, state, status, restore, kind))
        assert said(tmp_path) == [("new", f"{kind.capitalize()} of {JANE} {how}")]
        assert lasting(tmp_path).notice.event == "failed"
        notices.ended(self.ended(tmp_path, "done", EXIT_OK, restored(tmp_path, (JANE,)), kind))
        assert NoticeRecord(tmp_path).lasting() == ()
        assert told == []

    def test_one_that_somebody_stopped_is_no_news_and_one_that_died_is_said_once(
        self, tmp_path: Path
    ) -> None:
        notices = OperationNotices(tmp_path, lambda: NOW, QueueObserver(), lambda _: None)
        notices.ended(self.ended(tmp_path, "stopped", 143, "", "restore"))
        assert said(tmp_path) == []
        died = self.ended(tmp_path, "failed", None, "", "restore")
        notices.died(died, "failed")
        notices.ended(died)
        assert said(tmp_path) == [("new", f"The process of restore {JANE} died")]
