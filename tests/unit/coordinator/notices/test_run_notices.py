"""What people hear of runs, by what the catalog has of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.notices.run_notices import RunNotices
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.proto.errors import StagingError
from mailhaul.proto.records import Skipped
from mailhaul.tests.catalogs import START, begin, report, run_id, unit

LEFT_OUT = Skipped("/primary/user/jane/INBOX", "unreadable", "Permission denied")
VANISHED = Skipped("/primary/user/jane/INBOX/7", "vanished", "")
ALARM = Skipped("/primary/user/joe", "mailbox-emptied", "it is empty, and had 20 messages")


class Nights:
    """Runs of which an observer tells."""

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self.unrecorded: list[str] = []

    def run(
        self, day: int, *skipped: Skipped, fails: str = "", alarm: bool = False, queued: bool = False
    ) -> None:
        now = START + timedelta(days=day, hours=2)
        observer = RunNotices(self.staging, lambda: now, self.unrecorded.append, resumed=queued)
        observer.begun(run_id(day))
        with Catalog.open(self.staging, write=True) as catalog:
            one = unit(day, users=("jane", "joe"))
            begin(catalog, day, one)
            if not fails:
                catalog.commit_unit(report(one, skipped=skipped), sealed=now)
            if alarm:
                catalog.note_alarms(run_id(day), [ALARM])
            interrupted = fails == "interrupted"
            state = catalog.end_run(run_id(day), now, error=fails, interrupted=interrupted)
            observer.ended(state)

    def heard(self) -> list[str]:
        """All that was said, but that runs began."""
        said = reversed(NoticeRecord(self.staging).sayings(99))
        return [
            f"{saying.kind}: {saying.notice.subject}" for saying in said if saying.notice.event != "started"
        ]


def test_a_run_that_is_done(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.run(0, VANISHED)
    assert nights.heard() == ["new: Backup of / is done"]
    (began,) = [saying for saying in NoticeRecord(tmp_path).sayings(9) if saying.notice.event == "started"]
    assert began.notice.subject == f"Backup {run_id(0)} has begun"


def test_nights_that_leave_something_out_until_it_is_mended(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    for day in range(2):
        nights.run(day, LEFT_OUT, VANISHED)
    assert nights.heard() == ["new: Backup of / left out 1 entry"]
    nights.run(2, fails="the disk is gone")
    assert nights.heard()[1:] == ["new: Backup of / failed"], "what was left out is not mended by a failure"
    (failed,) = NoticeRecord(tmp_path).lasting(("failed",))
    assert failed.notice.lines[0] == "the disk is gone"
    nights.run(3)
    assert nights.heard()[2:] == [
        "over: Backup of / failed",
        "over: Backup of / left out 1 entry",
        "new: Backup of / is done",
    ]


def test_one_that_is_interrupted_and_one_that_the_queue_goes_on_with(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.run(0, fails="interrupted", queued=True)
    assert nights.heard() == []
    nights.run(1, fails="interrupted")
    assert nights.heard() == ["new: Backup of / was interrupted"]
    (lasts,) = NoticeRecord(tmp_path).lasting(("failed",))
    assert f"`mailhaul backup --resume {run_id(1)}` goes on with what is left" in lasts.notice.lines


def test_alarms_of_a_run_are_one_notice(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.run(0, alarm=True)
    assert nights.heard() == [
        "new: Backup of / is done",
        "new: ALARM: /primary/user/joe: mailbox-emptied",
    ]


def test_where_nothing_can_be_put_on_record_the_run_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    observer = RunNotices(tmp_path, lambda: START, told.append)
    place = tmp_path / ".mailhaul" / "service.sqlite"
    place.parent.mkdir()
    place.mkdir()
    observer.begun(run_id(0))
    observer.ended("failed", StagingError("x"))
    assert len(told) == 2
    assert all(one.startswith("nobody is told of this run: ") for one in told)
