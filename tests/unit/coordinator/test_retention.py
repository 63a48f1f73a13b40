"""Which runs stay: by number, by calendar, and runs over a part of a group."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.history import Moment
from mailhaul.coordinator.retention import RetentionRules, keep, lasting, reasons
from mailhaul.proto.records import RunId

START = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)


def moment(when: datetime, *, whole: bool = True) -> Moment:
    return Moment(run=RunId(when.strftime("%Y%m%dT%H%M%SZ-0000")), started=when, whole=whole)


def nights(count: int, *, parts: frozenset[int] = frozenset()) -> list[Moment]:
    return [moment(START + timedelta(days=i), whole=i not in parts) for i in range(count)]


def days(moments: list[Moment], rules: RetentionRules, zone: object = UTC) -> list[str]:
    kept = keep(moments, rules, zone)  # type: ignore[arg-type]
    return [f"{one.started:%m-%d}" for one in moments if one.run in kept]


def test_without_rules_everything_stays() -> None:
    moments = nights(3, parts=frozenset({1}))
    assert reasons(moments, RetentionRules(), UTC) == {one.run: ("all",) for one in moments}
    assert keep([], RetentionRules(last=3)) == set()


def test_last_keeps_the_newest() -> None:
    assert days(nights(10), RetentionRules(last=3)) == ["01-08", "01-09", "01-10"]


def test_newest_of_each_day_stays_and_the_oldest_while_there_is_room() -> None:
    moments = [moment(START + timedelta(hours=6 * i)) for i in range(8)]
    kept = reasons(moments, RetentionRules(daily=7), UTC)
    assert kept == {moments[0].run: ("daily",), moments[3].run: ("daily",), moments[7].run: ("daily",)}


def test_rules_add_up() -> None:
    moments = nights(400)
    kept = reasons(moments, RetentionRules(last=2, daily=3, weekly=2, monthly=3, yearly=2), UTC)
    shown = {f"{run[:8]}": why for run, why in kept.items()}
    assert shown == {
        "20261231": ("monthly", "yearly"),
        "20270131": ("weekly", "monthly"),  # the Sunday before
        "20270202": ("daily",),
        "20270203": ("last", "daily"),
        "20270204": ("last", "daily", "weekly", "monthly", "yearly"),
    }


def test_the_oldest_run_stays_until_a_rule_is_full() -> None:
    assert days(nights(20), RetentionRules(last=1, yearly=2)) == ["01-01", "01-20"]
    assert days(nights(20), RetentionRules(yearly=1)) == ["01-20"]


def test_days_are_those_of_the_zone() -> None:
    late = datetime(2026, 5, 4, 21, 30, tzinfo=UTC)
    moments = [moment(late), moment(late + timedelta(hours=1)), moment(late + timedelta(hours=3))]
    assert days(moments[:2], RetentionRules(daily=1)) == ["05-04"]
    zone = ZoneInfo("Europe/Berlin")  # 23:30, 0:30 and 2:30 there
    assert keep(moments, RetentionRules(daily=2), zone) == {moments[0].run, moments[2].run}
    assert keep(moments, RetentionRules(daily=2), UTC) == {moments[1].run, moments[2].run}


def test_days_of_the_time_change_are_days() -> None:
    zone = ZoneInfo("Europe/Berlin")
    moments = [moment(datetime(2026, 10, day, hour, tzinfo=zone)) for day in (24, 25, 26) for hour in (0, 23)]
    assert keep(moments, RetentionRules(daily=3), zone) == {moments[1].run, moments[3].run, moments[5].run}


def test_a_run_over_a_part_counts_for_nothing_and_goes_with_the_last_whole_ones() -> None:
    moments = nights(10, parts=frozenset({0, 5, 8, 9}))
    kept = reasons(moments, RetentionRules(last=2), UTC)
    assert kept == {
        moments[6].run: ("last",),
        moments[7].run: ("last",),
        moments[8].run: ("part",),
        moments[9].run: ("part",),
    }
    # Without `last`, parts stay as long as no whole run is newer.
    assert days(moments, RetentionRules(daily=1)) == ["01-08", "01-09", "01-10"]


def test_parts_stay_as_long_as_too_few_whole_runs_are_there() -> None:
    moments = nights(4, parts=frozenset({0, 2}))
    assert days(moments, RetentionRules(last=3)) == ["01-01", "01-02", "01-03", "01-04"]
    assert days(moments[:1], RetentionRules(last=3)) == ["01-01"]


def test_no_rule_keeps_nothing() -> None:
    with pytest.raises(ValueError, match="weekly: 0"):
        RetentionRules(weekly=0)


_counts = st.none() | st.integers(1, 5)


@given(
    hours=st.lists(st.integers(0, 3000), unique=True, max_size=40).map(sorted),
    parts=st.sets(st.integers(0, 39)),
    rules=st.builds(
        RetentionRules, last=_counts, daily=_counts, weekly=_counts, monthly=_counts, yearly=_counts
    ),
)
def test_keeping_twice_is_keeping_once(hours: list[int], parts: set[int], rules: RetentionRules) -> None:
    moments = [moment(START + timedelta(hours=hour), whole=i not in parts) for i, hour in enumerate(hours)]
    kept = keep(moments, rules, UTC)
    assert keep([one for one in moments if one.run in kept], rules, UTC) == kept
    if moments:
        assert moments[-1].run in kept, "the newest run never goes"
    newest_whole = [one.run for one in moments if one.whole][-1:]
    assert kept.issuperset(newest_whole)


def test_how_long_runs_stay_is_told_by_the_calendar() -> None:
    moments = [
        moment(datetime(2025, 12, 30, 2, 30, tzinfo=UTC)),
        moment(datetime(2025, 12, 31, 2, 30, tzinfo=UTC)),
        moment(datetime(2026, 1, 1, 2, 30, tzinfo=UTC)),
        moment(datetime(2026, 1, 2, 2, 30, tzinfo=UTC)),
    ]
    now = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
    until = lasting(moments, RetentionRules(last=1, daily=3, monthly=2, yearly=3), now, UTC)
    assert {f"{one.started:%m-%d}": f"{until[one.run]:%Y-%m-%d}" for one in moments if one.run in until} == {
        "12-30": "2027-01-01",  # the oldest, as the third year as long as there is none
        "12-31": "2028-01-01",
        "01-01": "2026-01-04",
    }
    assert lasting(moments, RetentionRules(last=3), now, UTC) == {}
    assert lasting(moments, RetentionRules(), now, UTC) == {}
    later = datetime(2026, 1, 5, tzinfo=UTC)
    until = lasting(moments, RetentionRules(daily=10), later, UTC)
    assert f"{until[moments[-1].run]:%m-%d}" == "01-12", "its day is over: nothing takes its place"
    far = lasting(moments, RetentionRules(yearly=10**6), now, UTC)
    assert max(far.values()).year == 2126


@given(
    hours=st.lists(st.integers(6, 24 * 40), min_size=1, max_size=12),
    rules=st.builds(
        RetentionRules,
        last=st.none() | st.integers(1, 4),
        daily=st.none() | st.integers(1, 5),
        weekly=st.none() | st.integers(1, 4),
        monthly=st.none() | st.integers(1, 4),
        yearly=st.none() | st.integers(1, 2),
    ),
)
def test_what_lasts_is_kept_until_then_and_no_longer(hours: list[int], rules: RetentionRules) -> None:
    """Though there is a run each day; and also if there is none."""
    zone = ZoneInfo("Europe/Berlin")
    when = START
    moments = [moment(when := when + timedelta(hours=hour)) for hour in hours]
    now = when + timedelta(hours=1)
    until = lasting(moments, rules, now, zone)
    assert until.keys() <= keep(moments, rules, zone)
    end = max(until.values(), default=now)
    for run, last in until.items():
        assert last <= end
        assert run in keep(moments, rules, zone)
    coming = list(moments)
    kept = keep(moments, rules, zone)
    while when < min(end, now + timedelta(days=150)):
        when += timedelta(days=1)
        coming.append(moment(when))
        kept = keep(coming, rules, zone)
        for run, last in until.items():
            if when < last:
                assert run in kept, (run, last, when)
            elif rules.last is None and run != moments[-1].run:
                assert run not in kept, (run, last, when)
