"""Erasures that should be done by now: found, said without a name, over when they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from mailhaul.coordinator.erasing.overdue import overdue
from mailhaul.coordinator.erasing.progress import Progress, Remaining, write_progress
from mailhaul.coordinator.erasing.record import new_erasure, write_erasure
from mailhaul.coordinator.monitoring.erasure_metrics import ErasureCollector
from mailhaul.coordinator.monitoring.exposition import make_registry
from mailhaul.coordinator.notices.looks import look
from mailhaul.coordinator.notices.rooms import Rooms
from mailhaul.coordinator.notices.spaces import Spaces
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.settings import Config, StagingConfig
from mailhaul.proto.records import RunId, Skipped
from mailhaul.proto.structs import replace

ERASURE = RunId("20260301T090000Z-4f3a")
ASKED = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LOCKED = Remaining(
    place="ceph", name="a.mha", version="1", size_bytes=2000, until=ASKED + 90 * DAY, why="locked"
)
TAPE = Remaining(place="robot", name="b.mha", version="2", size_bytes=3000, why="until T7 is labelled anew")


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """An area with an erasure of jane, that has just begun."""
    (tmp_path / ".mailhaul").mkdir()
    write_erasure(tmp_path, new_erasure(ERASURE, ASKED, "asked by letter", [("primary", "jane@example.org")]))
    return tmp_path


def days(staging: Path, progress: Progress) -> list[int]:
    """On which days after it was asked for it is overdue."""
    write_progress(staging, progress)
    return [day for day in range(0, 120, 2) if list(overdue(staging, ASKED + day * DAY))]


def test_it_is_overdue_when_what_holds_it_is_over(staging: Path) -> None:
    begun = Progress(erasure=ERASURE)
    assert min(days(staging, begun)) == 2
    due = replace(begun, staged=True)
    assert min(days(staging, replace(due, remaining=(LOCKED,)))) == 92
    assert min(days(staging, replace(due, remaining=(LOCKED, TAPE)))) == 30
    (found,) = overdue(staging, ASKED + 31 * DAY)
    assert (found.copies, found.here, found.since) == ((TAPE,), False, ASKED + 30 * DAY)
    assert days(staging, replace(due, ended=ASKED + DAY)) == []


def test_people_hear_of_it_until_it_is_done_and_nobody_is_named(staging: Path) -> None:
    config = Config(staging=StagingConfig(path=staging, reserve_bytes=0), partitions=())
    spaces = Spaces(config, Rooms())
    progress = Progress(erasure=ERASURE, staged=True, remaining=(LOCKED, TAPE))
    write_progress(staging, progress)
    look(config, spaces, ASKED + 3 * DAY)
    assert NoticeRecord(staging).lasting(("erasure-due",)) == ()
    look(config, spaces, ASKED + 31 * DAY)
    (said,) = NoticeRecord(staging).lasting(("erasure-due",))
    assert said.notice.subject == f"Erasure {ERASURE} is overdue: 1 copy should be gone"
    assert "robot: b.mha, 3.0 kB: until T7 is labelled anew" in said.notice.lines
    assert "jane" not in repr(said)
    write_progress(staging, replace(progress, staged=False, undone=(Skipped("c.mha", "damaged", "block 3"),)))
    look(config, spaces, ASKED + 32 * DAY)
    (said,) = NoticeRecord(staging).lasting(("erasure-due",))
    assert "c.mha: block 3" in said.notice.lines
    write_progress(staging, replace(progress, remaining=(), ended=ASKED + 33 * DAY))
    look(config, spaces, ASKED + 33 * DAY)
    assert NoticeRecord(staging).lasting(("erasure-due",)) == ()


def test_metrics_count_them(staging: Path) -> None:
    def told(moment: datetime) -> list[str]:
        registry = make_registry(ErasureCollector(staging, moment.timestamp))
        lines = generate_latest(registry).decode().splitlines()
        return [line for line in lines if line.startswith("mailhaul_erasures_due")]

    write_progress(staging, Progress(erasure=ERASURE, staged=True, remaining=(TAPE,)))
    assert told(ASKED) == [
        'mailhaul_erasures_due{overdue="no"} 1.0',
        'mailhaul_erasures_due{overdue="yes"} 0.0',
    ]
    assert told(ASKED + 31 * DAY) == [
        'mailhaul_erasures_due{overdue="no"} 0.0',
        'mailhaul_erasures_due{overdue="yes"} 1.0',
    ]
