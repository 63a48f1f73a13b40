"""Times of the schedule, beside an independent reading: a clock on the wall is looked at minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.scheduling.timings import last_moment, next_moment, parse

MINUTE = timedelta(minutes=1)
DAYS = 4

# Clocks that change by an hour, by half of one, at midnight, in the south, never; a day that was left out.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29)), ("Europe/Berlin", datetime(2026, 10, 25)),
    ("Europe/Dublin", datetime(2030, 3, 31)), ("Europe/Dublin", datetime(2030, 10, 27)),
    ("America/New_York", datetime(2007, 3, 11)), ("America/New_York", datetime(2007, 11, 4)),
    ("America/St_Johns", datetime(2011, 3, 13)), ("America/St_Johns", datetime(2010, 11, 7)),
    ("America/Sao_Paulo", datetime(2018, 11, 4)), ("America/Sao_Paulo", datetime(2018, 2, 18)),
    ("America/Havana", datetime(2026, 3, 8)), ("America/Havana", datetime(2026, 11, 1)),
    ("Australia/Lord_Howe", datetime(2026, 10, 4)), ("Australia/Lord_Howe", datetime(2026, 4, 5)),
    ("Pacific/Chatham", datetime(2026, 9, 27)), ("Pacific/Chatham", datetime(2026, 4, 5)),
    ("Pacific/Apia", datetime(2011, 12, 30)), ("Asia/Pyongyang", datetime(2018, 5, 5)),
    ("America/Caracas", datetime(2016, 5, 1)), ("Africa/Cairo", datetime(2026, 4, 24)),
    ("Antarctica/Troll", datetime(2026, 3, 29)), ("Antarctica/Troll", datetime(2026, 10, 25)),
    ("Asia/Kolkata", datetime(2026, 3, 29)), ("UTC", datetime(2026, 12, 31)),
]  # fmt: skip


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


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, set[int], set[int], set[int]]:
    """A cron expression, and which minutes, hours and days of the week (Monday: 0) it names."""
    minutes = draw(st.one_of(numbers, st.just(set(range(60))), st.just(set(range(0, 60, 20)))))
    hours = draw(
        st.one_of(
            st.sets(st.integers(0, 4), min_size=1, max_size=3), st.just(set(range(24))), st.just({0, 23})
        )
    )
    days = draw(st.one_of(st.just(set(range(7))), st.sets(st.integers(0, 6), min_size=1)))

    def field(chosen: set[int], everything: int, step: int) -> str:
        if chosen == set(range(everything)):
            return "*"
        if len(chosen) > 3 and chosen == set(range(0, everything, step)):
            return f"*/{step}"
        return ",".join(map(str, sorted(chosen)))

    weekdays = "*" if len(days) == 7 else ",".join(str((day + 1) % 7) for day in sorted(days))
    return f"{field(minutes, 60, 20)} {field(hours, 24, 1)} * * {weekdays}", minutes, hours, days


@given(st.sampled_from(CHANGES), expressions(), st.integers(0, 24 * 60), st.integers(0, 59))
def test_each_minute_that_is_named_is_one_moment(
    change: tuple[str, datetime],
    expression: tuple[str, set[int], set[int], set[int]],
    offset: int,
    seconds: int,
) -> None:
    name, day = change
    zone = ZoneInfo(name)
    text, minutes, hours, days = expression
    begin = day.replace(tzinfo=UTC) - timedelta(days=2)
    first = looked_at(zone, begin)
    expected = sorted(
        {
            moment
            for shown, moment in first.items()
            if shown.minute in minutes and shown.hour in hours and shown.weekday() in days
        }
    )
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
