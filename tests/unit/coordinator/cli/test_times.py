"""Times as people write and read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from mailhaul.coordinator.cli import adapters, times
from mailhaul.coordinator.cli.find import _UntilType
from mailhaul.coordinator.cli.options import SINCE
from mailhaul.coordinator.cli.times import MOMENT, both, from_now
from mailhaul.proto.ports import Clock

CET = timezone(timedelta(hours=1))
NOW = datetime(2026, 3, 2, 0, 30, 15, tzinfo=CET)  # 23:30 of the day before in UTC


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """``zone("UTC")`` sets that of this host."""

    def choose(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield choose
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, zone: Callable[[str], None]) -> None:
    """It is NOW, in a zone one hour ahead."""

    class Stopped(Clock):
        def now(self) -> float:
            return NOW.timestamp()

        def monotonic(self) -> float:
            return 0.0

    zone("CET-1")
    monkeypatch.setattr(adapters, "clock", Stopped)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-3d", datetime(2026, 2, 27, 0, 30, 15, tzinfo=CET)),
        ("-12h", datetime(2026, 3, 1, 12, 30, 15, tzinfo=CET)),
        ("-30m", datetime(2026, 3, 2, 0, 0, 15, tzinfo=CET)),
        ("-2w", datetime(2026, 2, 16, 0, 30, 15, tzinfo=CET)),
        ("yesterday", datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=CET)),
        ("today", datetime(2026, 3, 2, 23, 59, 59, 999_999, tzinfo=CET)),
        ("latest", None),
        ("2026-03-01", None),
        ("-3", None),
        ("-3y", None),
        ("3d", None),
        ("-999999d", None),
    ],
)
def test_times_told_from_now(text: str, expected: datetime | None) -> None:
    assert from_now(text, NOW) == expected


@pytest.mark.usefixtures("clock")
def test_the_catalog_is_asked_for_an_iso_time() -> None:
    assert times.here() == NOW
    assert MOMENT.convert("yesterday", None, None) == "2026-03-01T23:59:59+01:00"
    assert MOMENT.convert("-3d", None, None) == "2026-02-27T00:30:15+01:00"
    assert MOMENT.convert("latest", None, None) == "latest"


@pytest.mark.usefixtures("clock")
def test_from_yesterday_on_is_from_its_begin_up_to_it_is_to_its_end() -> None:
    assert SINCE.convert("yesterday", None, None) == datetime(2026, 3, 1, tzinfo=CET).timestamp()
    assert SINCE.convert("-1h", None, None) == NOW.timestamp() - 3600
    last = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=CET).timestamp()
    assert _UntilType().convert("yesterday", None, None) == last
    with pytest.raises(click.BadParameter, match="yesterday, or -3d"):
        SINCE.convert("-3y", None, None)


def test_times_are_shown_by_the_clock_of_this_host_too(zone: Callable[[str], None]) -> None:
    when = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    zone("UTC")
    assert both(when) == "2026-03-01T23:30:00Z"
    zone("CET-1")
    assert both(when) == "2026-03-01T23:30:00Z (2026-03-02 00:30 CET)"
    assert both(when - timedelta(hours=12)) == "2026-03-01T11:30:00Z (12:30 CET)"
    assert both(None) == "-"
