"""Times of the schedule, beside an independent reading: a clock on the wall is looked at minute by minute."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.scheduling.timings import last_moment, next_moment, parse

MINUTE = timedelta(minutes=1)
DAYS = 4

YEARS = st.integers(1975, 2036)
ZONES = st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"}))


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """The days of a year on which the clocks of a zone change (UTC)."""
    hours = (datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=count) for count in range(0, 365 * 24, 6))
    return [
        moment
        for moment, other in pairwise(hours)
        if moment.astimezone(zone).utcoffset() != other.astimezone(zone).utcoffset()
    ]


@st.composite
def days(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """A zone, and a day, as a rule one on which its clocks change."""
    zone, year = ZoneInfo(draw(ZONES)), draw(YEARS)
    some = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=draw(st.integers(0, 364)))
    day = draw(st.sampled_from([*changes(zone, year), some]))
    return zone, day.replace(hour=0)


def looked_at(zone: ZoneInfo, begin: datetime) -> dict[datetime, datetime]:
    """When each minute that a clock shows in some days from ``begin`` (UTC) on is shown first; of those that
    it skips, when it has skipped them."""
    first: dict[datetime, datetime] = {}
    shown = None
    for count in range(DAYS * 24 * 60):
        moment = begin + count * MINUTE
        now = moment.astimezone(zone).replace(tzinfo=None)
        skipped = shown + MINUTE if shown is not None else now
        while skipped < now:
            first.setdefault(skipped, moment)
            skipped += MINUTE
        first.setdefault(now, moment)
        shown = now
    return first


numbers = st.sets(st.integers(0, 59), min_size=1, max_size=3)


Named = Callable[[datetime], bool]
"""Whether an expression names a minute that a clock shows."""


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, Named]:
    """A cron expression, and what it means."""
    minutes = draw(st.one_of(numbers, st.just(set(range(60))), st.just(set(range(0, 60, 20)))))
    hours = draw(
        st.one_of(
            st.sets(st.integers(0, 4), min_size=1, max_size=3), st.just(set(range(24))), st.just({0, 23})
        )
    )
    weekdays = draw(st.one_of(st.just(set(range(7))), st.sets(st.integers(0, 6), min_size=1)))
    dates = draw(st.one_of(st.just(set(range(1, 32))), st.sets(st.integers(1, 31), min_size=8)))

    def field(chosen: set[int], everything: int, step: int) -> str:
        if chosen == set(range(everything)):
            return "*"
        if len(chosen) > 3 and chosen == set(range(0, everything, step)):
            return f"*/{step}"
        return ",".join(map(str, sorted(chosen)))

    def names(shown: datetime) -> bool:
        on_date, on_weekday = shown.day in dates, shown.weekday() in weekdays
        # As Debian's cron has it: either, where both are said.
        either = len(dates) < 31 and len(weekdays) < 7
        day = on_date or on_weekday if either else on_date and on_weekday
        return day and shown.minute in minutes and shown.hour in hours

    of_month = "*" if len(dates) == 31 else ",".join(map(str, sorted(dates)))
    of_week = "*" if len(weekdays) == 7 else ",".join(str((day + 1) % 7) for day in sorted(weekdays))
    return f"{field(minutes, 60, 20)} {field(hours, 24, 1)} {of_month} * {of_week}", names


@given(days(), expressions(), st.integers(0, 24 * 60), st.integers(0, 59))
def test_each_minute_that_is_named_is_one_moment(
    place: tuple[ZoneInfo, datetime],
    expression: tuple[str, Named],
    offset: int,
    seconds: int,
) -> None:
    zone, day = place
    text, names = expression
    begin = day - timedelta(days=2)
    expected = sorted({moment for shown, moment in looked_at(zone, begin).items() if names(shown)})
    timings = [parse(text)]
    after = begin + timedelta(hours=26, minutes=offset, seconds=seconds)
    end = begin + timedelta(days=DAYS) - timedelta(hours=25)
    found: list[datetime] = []
    moment = next_moment(timings, zone, after)
    while moment is not None and moment < end and len(found) < 200:
        found.append(moment)
        moment = next_moment(timings, zone, moment)
    wanted = [one for one in expected if after < one < end][:200]
    assert found == wanted
    before = [one for one in expected if one <= after]
    if before and before[-1] > begin + timedelta(hours=25):
        assert last_moment(timings, zone, after) == before[-1]
