"""When places will be full, and when somebody hears of that."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.notices.raising import raise_notice
from mailhaul.coordinator.notices.records import Notice
from mailhaul.coordinator.notices.rooms import Rooms
from mailhaul.coordinator.notices.space import (
    PlaceSpace,
    Sample,
    cause_of,
    forecast,
    shortages,
    when_full,
)
from mailhaul.coordinator.notices.spaces import Spaces
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.space import SpaceRecord
from mailhaul.coordinator.settings import Config, StagingConfig
from mailhaul.worker.destinations.settings import DirectoryDestination, TapeDestination

TODAY = date(2026, 3, 15)
NOW = datetime(2026, 3, 15, 8, tzinfo=UTC)
DAY = timedelta(days=1)
GB = 10**9


def filled(growth: int, days: int, *, used: int = 500 * GB, total: int = 1000 * GB) -> list[Sample]:
    """So many days up to today, each fuller by so much."""
    return [
        Sample(
            place="staging",
            day=TODAY - ago * DAY,
            used_bytes=used - ago * growth,
            free_bytes=total - used + ago * growth,
        )
        for ago in range(days)
    ]


def foretold(samples: list[Sample]) -> tuple[PlaceSpace, ...]:
    """As seen from the last day."""
    return forecast(samples, [max(samples, key=lambda one: one.day)], TODAY)


def test_the_day_on_which_it_is_full() -> None:
    (found,) = foretold(filled(100 * GB, 14))
    assert found.days_left == pytest.approx(5.0)
    assert found.growth_bytes == pytest.approx(100 * GB)
    assert when_full(found) == "is full in 5 days"
    (shrinking,) = foretold(filled(-10 * GB, 14))
    assert shrinking.days_left is None
    (still,) = foretold(filled(0, 14))
    assert still.days_left is None


def test_of_few_days_nothing_is_foretold_and_old_ones_do_not_count() -> None:
    (found,) = foretold(filled(100 * GB, 2))
    assert (found.growth_bytes, found.days_left) == (None, None)
    old = [
        Sample(place="staging", day=TODAY - n * DAY, used_bytes=0, free_bytes=1000 * GB)
        for n in range(15, 60)
    ]
    (found,) = foretold([*old, *filled(100 * GB, 14)])
    assert found.days_left == pytest.approx(5.0)


def test_a_purge_in_between_does_not_hide_how_it_fills_up() -> None:
    days = [
        Sample(place="vault", day=TODAY - (13 - n) * DAY, used_bytes=used, free_bytes=1000 * GB - used)
        for n, used in enumerate(n * 30 * GB - (50 * GB if n >= 7 else 0) for n in range(14))
    ]
    (found,) = foretold(days)
    assert found.days_left is not None
    assert 20 < found.days_left < 40


def test_it_takes_more_to_be_over_than_to_be_said() -> None:
    def causes(days_left: float | None, free_share: float, known: bool) -> list[str]:
        place = PlaceSpace(
            place="staging",
            used_bytes=round(1000 * (1 - free_share)),
            free_bytes=round(1000 * free_share),
            growth_bytes=1.0,
            days_left=days_left,
        )
        return [
            shortage.cause
            for shortage in shortages([place], frozenset([cause_of("staging")] if known else []), 7)
        ]

    assert causes(6.9, 0.5, known=False) == ["space:staging"]
    assert causes(7.1, 0.5, known=False) == []
    assert causes(7.1, 0.5, known=True) == ["space:staging"]
    assert causes(10.6, 0.5, known=True) == []
    assert causes(None, 0.04, known=False) == ["space:staging"]
    assert causes(None, 0.06, known=False) == []
    assert causes(None, 0.06, known=True) == ["space:staging"]
    assert causes(None, 0.09, known=True) == []


def test_places_are_measured_and_the_fullest_of_a_day_is_kept(tmp_path: Path) -> None:
    vault = DirectoryDestination(name="vault", path=str(tmp_path))
    away = DirectoryDestination(name="away", path=str(tmp_path / "not mounted"))
    drive = TapeDestination(name="drive", state=str(tmp_path / "state"), file=str(tmp_path))
    config = Config(
        staging=StagingConfig(path=tmp_path / "area", reserve_bytes=1 << 20),
        partitions=(),
        destinations=(vault, away, drive),
    )
    (tmp_path / "area").mkdir()
    found = Spaces(config, Rooms()).of(NOW)
    assert [space.place for space in found] == ["staging", "vault", "drive"]
    staging, directory, _ = found
    assert staging.free_bytes is not None
    assert directory.free_bytes is not None
    assert staging.free_bytes < directory.free_bytes
    assert all(place_space.used_bytes > 0 for place_space in found)
    record = SpaceRecord(tmp_path)
    record.note([Sample(place="vault", day=TODAY, used_bytes=10, free_bytes=90)])
    record.note([Sample(place="vault", day=TODAY, used_bytes=40, free_bytes=60)])
    record.note([Sample(place="vault", day=TODAY, used_bytes=20, free_bytes=80)])
    assert [(sample.used_bytes, sample.free_bytes) for sample in record.samples()] == [(40, 60)]
    record.note([Sample(place="vault", day=TODAY + 70 * DAY, used_bytes=1, free_bytes=99)])
    assert [one.day for one in record.samples()] == [TODAY + 70 * DAY]


def test_a_place_that_does_not_answer_keeps_one_waiting_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = Rooms(ask_seconds=0.05)
    mended, asked = threading.Event(), []

    def statvfs(path: Path) -> os.statvfs_result:
        asked.append(path)
        mended.wait(10)
        return real(path)

    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", statvfs)
    for _ in range(3):
        assert rooms.of(tmp_path) is None
    assert len(asked) == 1
    mended.set()
    until = time.monotonic() + 10
    while rooms.of(tmp_path) is None:
        assert time.monotonic() < until


def test_a_place_that_does_not_answer_is_short_of_space_as_before(tmp_path: Path) -> None:
    now = NOW
    away = DirectoryDestination(name="vault", path=str(tmp_path / "away"))
    config = Config(
        staging=StagingConfig(path=tmp_path, reserve_bytes=0), partitions=(), destinations=(away,)
    )
    for name in ("vault", "removed"):
        facts = {"place": name}
        raise_notice(tmp_path, Notice(event="space", cause=cause_of(name), subject="x", facts=facts), now)
    Spaces(config, Rooms()).look(now)
    lasting = {standing.notice.cause for standing in NoticeRecord(tmp_path).lasting(("space",))}
    assert cause_of("vault") in lasting
    assert cause_of("removed") not in lasting
