"""Backup windows: how they are written, and when they are open, in the nights too when clocks change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.window import Window

MINUTES = range(24 * 60 + 1)


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process, as POSIX writes them."""

    def put(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def berlin(zone: Callable[[str], None]) -> None:
    zone("CET-1CEST,M3.5.0,M10.5.0/3")


def at(text: str) -> float:
    """Seconds since 1970 of an ISO time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "now", "is_open"),
    [
        ("22:00-06:00", "2026-01-10 20:59:59", False),
        ("22:00-06:00", "2026-01-10 21:00", True),
        ("22:00-06:00", "2026-01-10 23:30", True),
        ("22:00-06:00", "2026-01-11 04:59:59", True),
        ("22:00-06:00", "2026-01-11 05:00", False),
        ("22:00-06:00", "2026-07-10 20:00", True),
        ("01:00-05:30", "2026-01-10 00:00", True),
        ("01:00-05:30", "2026-01-10 04:30", False),
        ("12:30-13:00, 20:00-24:00", "2026-01-10 11:45", True),
        ("12:30-13:00,20:00-24:00", "2026-01-10 22:59", True),
        ("12:30-13:00,20:00-24:00", "2026-01-10 23:00", False),
        ("00:00-24:00", "2026-01-10 23:00", True),
        ("22:00-00:00", "2026-01-10 22:59", True),
        ("22:00-00:00", "2026-01-10 23:00", False),
    ],
)
def test_open_by_the_clock_on_the_wall(text: str, now: str, is_open: bool) -> None:
    assert Window.parse(text).is_open(at(now)) is is_open


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "now", "opens"),
    [
        ("22:00-06:00", "2026-01-10 22:13:14", "2026-01-10 22:13:14"),
        ("22:00-06:00", "2026-01-10 20:59:59", "2026-01-10 21:00:00"),
        ("22:00-06:00", "2026-01-10 05:00:00", "2026-01-10 21:00:00"),
        ("03:00-04:00, 12:00-12:01", "2026-01-10 08:00:01", "2026-01-10 11:00:00"),
        ("03:00-04:00", "2026-01-10 03:00:00", "2026-01-11 02:00:00"),
        # Clocks are put forward from 02:00 to 03:00, which is at 01:00 UTC.
        ("02:30-05:00", "2026-03-29 00:59:59", "2026-03-29 01:00:00"),
        ("02:10-02:50", "2026-03-28 02:00:00", "2026-03-30 00:10:00"),
        # And back from 03:00 to 02:00, at 01:00 UTC: 02:10 comes twice.
        ("02:10-02:50", "2026-10-24 23:00:00", "2026-10-25 00:10:00"),
        ("02:10-02:50", "2026-10-25 00:50:00", "2026-10-25 01:10:00"),
        ("02:10-02:50", "2026-10-25 01:50:00", "2026-10-26 01:10:00"),
    ],
)
def test_opens_next(text: str, now: str, opens: str) -> None:
    assert shown(Window.parse(text).opens_at(at(now))) == opens


def test_zones_with_odd_minutes(zone: Callable[[str], None]) -> None:
    zone("NPT-5:45")
    window = Window.parse("22:00-06:00")
    assert shown(window.opens_at(at("2026-01-10 12:00"))) == "2026-01-10 16:15:00"
    assert not window.is_open(at("2026-01-10 00:15"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is no span such as 22:00-06:00"),
        ("22-06", "'22-06' is no span"),
        ("22:00-06:00,", "'' is no span"),
        ("22:00-06:00 every day", "is no span"),
        ("25:00-06:00", "25:00 is no time of the day"),
        ("22:60-06:00", "22:60 is no time of the day"),
        ("22:00-24:01", "24:01 is no time of the day"),
        ("24:00-06:00", "'24:00-06:00' begins at 24:00; the day begins at 00:00"),
        ("06:00-06:00", "'06:00-06:00' begins when it ends; the whole day is 00:00-24:00"),
        ("٢٢:00-06:00", "is no span"),
    ],
)
def test_what_is_no_window_is_said(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        Window.parse(text)


@given(st.lists(st.tuples(st.sampled_from(MINUTES[:-1]), st.sampled_from(MINUTES)), min_size=1, max_size=4))
def test_windows_are_written_as_they_are_read(spans: list[tuple[int, int]]) -> None:
    spans = [(start, end) for start, end in spans if start != end] or [(0, 1)]
    text = ", ".join(f"{clock(start)}-{clock(end)}" for start, end in spans)
    window = Window.parse(text)
    assert str(window) == text
    assert window == Window.parse(str(window))


@given(
    st.sampled_from(MINUTES[:-1]),
    st.sampled_from(MINUTES),
    st.integers(min_value=1_767_225_600, max_value=1_798_761_600),
)
@pytest.mark.usefixtures("berlin")
def test_it_is_open_when_it_said_and_shut_until_then(start: int, end: int, now: int) -> None:
    if start == end:
        return
    window = Window.parse(f"{clock(start)}-{clock(end)}")
    opens = window.opens_at(now)
    assert now <= opens <= now + 2 * 86400 + 3600
    assert window.is_open(opens)
    assert opens == now or not window.is_open(opens - 1)
