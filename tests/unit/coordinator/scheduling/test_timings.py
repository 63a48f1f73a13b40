"""What times mean, and when they come."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from mailhaul.coordinator.scheduling.timings import last_moment, next_moment, parse

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("02:00", "0 2 * * *"),
        ("2:05", "5 2 * * *"),
        ("sun 02:00", "0 2 * * 0"),
        ("Sunday 02:00", "0 2 * * 0"),
        ("mon-fri 22:30", "30 22 * * 1,2,3,4,5"),
        ("Fri-Mon  06:00", "0 6 * * 0,1,5,6"),
        ("mon,wed,fri 01:15", "15 1 * * 1,3,5"),
        ("0 2 * * MON-FRI", "0 2 * * mon-fri"),
        ("*/15 8-18 * * *", "*/15 8-18 * * *"),
        ("0 3 L * *", "0 3 l * *"),
    ],
)
def test_times_are_cron_expressions(text: str, cron: str) -> None:
    assert (parse(text).cron, str(parse(text))) == (cron, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("24:00", "24:00 is no time of the day"),
        ("02:60", "02:60 is no time of the day"),
        ("son 02:00", "'son' is no day: expected one of sun, mon, tue, wed, thu, fri, sat"),
        ("mon- 02:00", "'' is no day"),
        ("daily", "neither a time of the day, nor the five fields of a cron expression"),
        ("", "neither a time"),
        ("0 0 2 * * *", "neither a time"),
        ("61 2 * * *", "as a cron expression: bad minute"),
        ("0 2 30 2 *", "as a cron expression: bad day-of-month"),
        ("0 2 * * 0#6", "as a cron expression: bad day-of-week"),
    ],
)
def test_what_is_wrong_with_a_time_is_told(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        parse(text)


def all_between(texts: list[str], zone: ZoneInfo, after: str, until: str) -> list[str]:
    timings = [parse(text) for text in texts]
    found, moment = [], next_moment(timings, zone, at(after))
    while moment is not None and moment <= at(until):
        assert last_moment(timings, zone, moment) == moment
        found.append(moment.astimezone(zone).strftime("%a %H:%M %Z"))
        moment = next_moment(timings, zone, moment)
    return found


class TestDaylightSaving:
    """In Berlin the clock went from 2:00 to 3:00 on 29 March 2026, and back at 3:00 on 25 October."""

    def test_a_time_that_is_not_shown_is_due_as_the_clock_has_been_put_forward(self) -> None:
        assert all_between(["02:30"], BERLIN, "2026-03-27T12:00", "2026-03-30T12:00") == [
            "Sat 02:30 CET", "Sun 03:00 CEST", "Mon 02:30 CEST",
        ]  # fmt: skip

    def test_a_time_that_is_shown_twice_is_due_the_first_time(self) -> None:
        assert all_between(["02:30"], BERLIN, "2026-10-23T12:00", "2026-10-26T12:00") == [
            "Sat 02:30 CEST", "Sun 02:30 CEST", "Mon 02:30 CET",
        ]  # fmt: skip

    def test_after_the_first_time_the_second_is_not_due(self) -> None:
        timing = [parse("02:30")]
        between = at("2026-10-25T01:10")  # 2:10 for the second time
        assert last_moment(timing, BERLIN, between) == at("2026-10-25T00:30")
        assert next_moment(timing, BERLIN, between) == at("2026-10-26T01:30")

    def test_times_that_fall_together_count_once(self) -> None:
        assert all_between(["0,30 2,3 * * *"], BERLIN, "2026-03-29T00:00", "2026-03-29T04:00") == [
            "Sun 03:00 CEST", "Sun 03:30 CEST",
        ]  # fmt: skip

    def test_every_hour_that_the_clock_shows(self) -> None:
        assert all_between(["0 * * * *"], BERLIN, "2026-10-24T22:30", "2026-10-25T02:30") == [
            "Sun 01:00 CEST", "Sun 02:00 CEST", "Sun 03:00 CET",
        ]  # fmt: skip

    def test_half_an_hour(self) -> None:
        zone = ZoneInfo("Australia/Lord_Howe")  # on 4 October 2026 from 2:00 to 2:30
        assert all_between(["02:15"], zone, "2026-10-03T00:00", "2026-10-05T00:00") == [
            "Sun 02:30 +11", "Mon 02:15 +11",
        ]  # fmt: skip

    def test_a_whole_day(self) -> None:
        zone = ZoneInfo("Pacific/Apia")  # there was no 30 December 2011
        assert all_between(["12:00"], zone, "2011-12-29T12:00", "2011-12-31T12:00") == [
            "Thu 12:00 -10", "Sat 00:00 +14", "Sat 12:00 +14",
        ]  # fmt: skip


def test_several_times_and_none() -> None:
    times = ["22:00", "sun 02:00", "0 2 * * 0"]
    assert all_between(times, BERLIN, "2026-06-05T22:00", "2026-06-08T00:00") == [
        "Sat 22:00 CEST", "Sun 02:00 CEST", "Sun 22:00 CEST",
    ]  # fmt: skip
    assert next_moment([], BERLIN, at("2026-01-01")) is None
    assert last_moment([], BERLIN, at("2026-01-01")) is None
