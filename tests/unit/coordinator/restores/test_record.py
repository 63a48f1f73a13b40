"""What a restore leaves in the staging area: an order, a journal, a report; the newest fifty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.restores import record as records
from mailhaul.coordinator.restores.journal import Journal, JournalFile, read_journal
from mailhaul.coordinator.restores.record import (
    KEPT,
    OpenRestore,
    Order,
    begun,
    directory_of,
    read_order,
    reopened,
    restores_of,
    state_of,
)
from mailhaul.coordinator.restores.report import TEXT, read_report, write_report
from mailhaul.proto.errors import LockedError, NotFoundError, StagingError
from mailhaul.proto.records import ArchiveId, RestoredMailbox, RestoreReport, Skipped
from mailhaul.proto.restored import encode
from mailhaul.worker.tasks.restore import witnessed

NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
ARCHIVE = ArchiveId(bytes(16))


class FixedClock:
    """The clock stands still."""

    def now(self) -> float:
        return NOW.timestamp()

    def monotonic(self) -> float:
        return 0.0


def mailbox(user: str, restored: int = 0, present: int = 0) -> RestoredMailbox:
    report = RestoreReport(restored=restored, present=present)
    return RestoredMailbox(archive=ARCHIVE, path=f"/p/user/{user}", report=report)


def unexpected(error: StagingError) -> None:
    raise error


@contextmanager
def restoring(staging: Path) -> Iterator[OpenRestore]:
    def order(restore: str, now: datetime) -> Order:
        return Order(
            restore=restore,
            begun=now,
            arguments=("/", "--to", "maildir:/x/\udcff"),
            directory="/somewhere",
            moment="2026-11-21T03:15:00+00:00",
            run="20261121T031500Z-4f3a",
            targets={"p": "maildir:/x"},
            mailboxes=2,
        )

    with begun(staging, FixedClock(), order, unexpected) as record:
        yield record


def test_a_killed_restore_is_gone_on_with(tmp_path: Path) -> None:
    with restoring(tmp_path) as record:
        directory, order = record.directory, record.order
        assert state_of(directory) == "running"
        record.journal.note(mailbox("a", restored=3))
        with pytest.raises(LockedError, match=order.restore), reopened(directory, FixedClock(), unexpected):
            pass
    assert state_of(directory) == "interrupted"
    assert directory_of(tmp_path, "latest") == directory_of(tmp_path, order.restore) == directory
    assert read_order(directory) == order
    with reopened(directory, FixedClock(), unexpected) as again:
        assert again.order == order
        assert (ARCHIVE, "/p/user/a", "") in again.journal
        assert (ARCHIVE, "/p/user/b", "") not in again.journal
        again.journal.note(mailbox("a", present=3))
        again.journal.note(mailbox("b", restored=4))
        assert again.journal.total == RestoreReport(restored=7)
        write_report(again, NOW, again.journal.total)
    assert len((directory / "journal.jsonl").read_bytes().splitlines()) == 2
    assert state_of(directory) == "done"
    with pytest.raises(NotFoundError, match="--retry"), reopened(directory, FixedClock(), unexpected):
        pass


def test_workers_that_outlive_their_coordinator_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mailbox that they are about to put into place would be made twice."""
    with restoring(tmp_path) as restored:
        directory, witness = restored.directory, restored.witness
    with witnessed(str(witness)):
        with monkeypatch.context() as patch:
            patch.setattr(records, "_WORKERS_SECONDS", 0.0)
            with (
                pytest.raises(LockedError, match="workers of restore"),
                reopened(directory, FixedClock(), unexpected),
            ):
                pass
        assert state_of(directory) == "interrupted"
    with reopened(directory, FixedClock(), unexpected), witnessed(str(witness)), witnessed(str(witness)):
        assert state_of(directory) == "running"
    with witnessed(""), witnessed(str(tmp_path / "elsewhere")):
        pass


def test_one_that_an_error_stopped_is_gone_on_with(tmp_path: Path) -> None:
    with restoring(tmp_path) as record:
        write_report(record, NOW, RestoreReport(), error="no room")
    assert state_of(record.directory) == "stopped"
    with reopened(record.directory, FixedClock(), unexpected):
        assert state_of(record.directory) == "running"
    assert state_of(record.directory) == "interrupted"


def test_a_report_tells_what_helps(tmp_path: Path) -> None:
    lost = Skipped("/p/user/a/INBOX/1", "block", "a checksum\nis wrong")
    refused = Skipped("/p/user/b", "mailbox", "Permission denied")
    notice = Skipped("/p/user/b/.", "owner", "without their owner: 3 files")
    with restoring(tmp_path) as record:
        total = RestoreReport(restored=5, damaged=(lost,), skipped=(refused, notice))
        written = write_report(record, NOW, total)
    assert [(failure.path, failure.kind, failure.again) for failure in written.failures] == [
        (lost.path, "damaged", True),
        (refused.path, "refused", True),
        (notice.path, "refused", False),
    ]
    assert all(one.remedy for one in written.failures)
    assert read_report(record.directory) == read_report(record.directory / "report.json") == written
    text = (record.directory / TEXT).read_text()
    head = f"restore {record.order.restore}: done, but: 2 not there, 1 there, but not as it was\n"
    assert text.startswith(head)
    assert f"\n  {lost.path}: a checksum is wrong (block)\n" in text
    assert text.count("What helps: ") == 3
    assert text.endswith(f"\nto go on: mailhaul restore --retry {record.order.restore}\n")
    with pytest.raises(NotFoundError, match="no report"):
        read_report(record.directory / "order.json")


def test_the_newest_are_kept(tmp_path: Path) -> None:
    with restoring(tmp_path) as first:
        for _ in range(KEPT + 2):
            with restoring(tmp_path):
                pass
        known = restores_of(tmp_path)
        assert first.order.restore == known[0]  # it goes on
        assert len(known) == KEPT + 1
    with restoring(tmp_path) as newest:
        pass
    known = restores_of(tmp_path)
    assert (len(known), known[-1]) == (KEPT, newest.order.restore)
    with pytest.raises(NotFoundError, match=first.order.restore):
        directory_of(tmp_path, first.order.restore)


def test_an_area_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").write_bytes(b"a file")
    with pytest.raises(StagingError, match="restores"), restoring(tmp_path):
        pass


def test_lines_that_a_crash_has_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [encode(mailbox(user)).encode() for user in "ab"]
    path.write_bytes(lines[0] + b"\n" + lines[1][:9])
    with JournalFile(path, lambda: 0.0, unexpected) as file:
        journal = Journal(file.append, read_journal(path))
        assert len(journal) == 1
        journal.take(lines[1].decode())
        journal.take("no such line")
    assert [restored_mailbox.path for restored_mailbox in read_journal(path)] == ["/p/user/a", "/p/user/b"]


def test_a_journal_that_can_not_be_written_ends_nothing(tmp_path: Path) -> None:
    told: list[StagingError] = []
    with JournalFile(Path("/dev/full"), lambda: 0.0, told.append) as file:
        journal = Journal(file.append)
        journal.note(mailbox("a", restored=1))
        journal.note(mailbox("b", restored=1))
    assert len(told) == 1
    assert "No space left" in told[0].message
    assert journal.total.restored == 2


def test_the_clock_of_ids(tmp_path: Path) -> None:
    with restoring(tmp_path) as restore, restoring(tmp_path) as other:
        assert restore.order.restore < other.order.restore
        assert restore.order.restore.startswith(utc(NOW.timestamp()).strftime("%Y%m%dT%H%M%SZ"))
