"""What status tells of a restore that brings the newest mail first: how far back each mailbox is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.restores.report import write_report
from mailhaul.coordinator.restores.status import ALL, NOTHING, Reached, reach_of_each, unfinished_restores
from mailhaul.proto.errors import NotFoundError
from mailhaul.proto.records import FOLDERS, RestoredMailbox, RestoreReport, Skipped
from mailhaul.tests.unit.coordinator.restores.test_record import ARCHIVE, NOW, restoring

NEWER, OLDER = "2026-11-07T03:15:00+00:00", "2026-08-23T03:15:00+00:00"


def part(user: str, reach: str) -> RestoredMailbox:
    report = RestoreReport(restored=1, without_modseq=2)
    return RestoredMailbox(archive=ARCHIVE, path=f"/p/user/{user}", report=report, reach=reach)


def test_how_far_back(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        list(reach_of_each(tmp_path))
    with restoring(tmp_path) as record:
        assert unfinished_restores(tmp_path)[0].reached == ()
        record.journal.note(part("a", FOLDERS))
        (status,) = unfinished_restores(tmp_path)
        assert status.reached == (Reached(NOTHING, 1), Reached(FOLDERS, 1))
        for user, reach in (("b", FOLDERS), ("a", NEWER), ("a", OLDER), ("b", NEWER), ("b", NEWER)):
            record.journal.note(part(user, reach))
        (status,) = unfinished_restores(tmp_path)
        assert status.reached == (Reached(NEWER, 1), Reached(OLDER, 1))
        assert (status.mailboxes_done, status.messages_done) == (0, 5)
        record.journal.note(part("b", ""))
        assert list(reach_of_each(tmp_path)) == [("/p/user/a", OLDER), ("/p/user/b", ALL)]
        (status,) = unfinished_restores(tmp_path)
        assert (status.reached, status.mailboxes_done) == ((Reached(OLDER, 1), Reached(ALL, 1)), 1)
        # The folders of a mailbox are the same few, however often something is put into them.
        assert record.journal.total.without_modseq == 4


def test_a_restore_that_is_not_newest_first(tmp_path: Path) -> None:
    with restoring(tmp_path) as record:
        record.journal.note(part("a", ""))
        assert unfinished_restores(tmp_path)[0].reached == ()


def test_the_latest_restore_that_did_not_do_all(tmp_path: Path) -> None:
    with restoring(tmp_path) as record:
        told = RestoreReport(skipped=(Skipped("/p/user/a", "busy", ""), Skipped("/p/user/b/x", "before", "")))
        write_report(record, NOW, told)
        failed = record.order.restore
    (status,) = unfinished_restores(tmp_path)
    assert (status.restore, status.state, status.absent, status.altered) == (failed, "done", 1, 1)
    assert "/p/user/b/x" in Path(status.report).read_text()
    with restoring(tmp_path) as record:
        write_report(record, NOW, RestoreReport())
    assert unfinished_restores(tmp_path) == ()
