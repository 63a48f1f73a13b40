"""Since when there should be a backup of a group, by the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mailhaul.coordinator.scheduling.lateness import PlannedBackups
from mailhaul.coordinator.scheduling.settings import GroupTimes, ScheduleConfig
from mailhaul.coordinator.scheduling.timings import parse
from mailhaul.coordinator.service.records import Handled
from mailhaul.coordinator.settings import Config, StagingConfig
from mailhaul.proto.structs import replace

BERLIN = ZoneInfo("Europe/Berlin")
SCHEDULE = ScheduleConfig(
    backup=(parse("02:00"),),
    groups={
        "sales": GroupTimes(full=(parse("sun 02:00"),), backup=()),
        "never": GroupTimes(backup=(), full=()),
        "swept": GroupTimes(sweep=(parse("06:00"),)),
    },
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def planned(**handled: str) -> PlannedBackups:
    config = Config(staging=StagingConfig(path=Path("/nowhere")), partitions=(), schedule=SCHEDULE)
    config = replace(config, groups=replace(config.groups, off=frozenset(("guests",))))
    seen: Mapping[str, Handled] = {
        name.replace("_", ":"): Handled(moment=at(moment), full=at(moment))
        for name, moment in handled.items()
    }
    return PlannedBackups(config, seen, BERLIN)


# 29 November 2026 is a Sunday.
@pytest.mark.parametrize(
    ("group", "now", "expected"),
    [
        ("staff", "2026-11-27T07:59", "2026-11-26T02:00"),
        ("staff", "2026-11-27T08:00", "2026-11-27T02:00"),
        ("swept", "2026-11-27T08:00", "2026-11-27T02:00"),
        ("sales", "2026-11-28T23:00", "2026-11-22T02:00"),
        ("sales", "2026-11-29T08:00", "2026-11-29T02:00"),
    ],
)
def test_what_was_due_and_has_had_its_time(group: str, now: str, expected: str) -> None:
    known = planned(backup="2026-11-26T02:00", backup_sales="2026-11-22T02:00")
    assert known.are_known
    assert known.wanted_since(group, at(now)) == at(expected)


def test_nothing_is_wanted_that_nobody_planned() -> None:
    known = planned(backup="2026-11-26T02:00", backup_sales="2026-11-22T02:00")
    for group in ("never", "guests"):
        assert known.wanted_since(group, at("2026-11-27T12:00")) is None


def test_of_groups_that_timers_may_back_up_it_knows_nothing() -> None:
    both = planned(backup="2026-11-26T02:00", backup_sales="2026-11-22T02:00")
    assert all(both.knows(group) for group in ("staff", "sales", "never", "guests", "swept"))
    one = planned(backup_sales="2026-11-22T02:00")
    assert [group for group in ("staff", "sales", "never", "guests", "swept") if one.knows(group)] == [
        "sales", "never", "guests",
    ]  # fmt: skip


def test_what_was_due_before_its_entry_came_into_the_schedule_is_not_wanted() -> None:
    known = planned(backup="2026-11-26T12:00", backup_sales="2026-11-26T12:00")
    assert known.wanted_since("staff", at("2026-11-27T07:00")) is None
    assert known.wanted_since("staff", at("2026-11-27T08:00")) == at("2026-11-27T02:00")
    assert known.wanted_since("sales", at("2026-11-27T08:00")) is None


def test_without_somebody_who_sees_to_it_nothing_is_known() -> None:
    assert not planned().are_known
    assert planned().wanted_since("staff", at("2026-11-27T08:00")) is None


def test_a_moment_that_was_handled_since_does_not_hide_the_one_before() -> None:
    known = planned(backup="2026-11-27T02:00")
    assert known.wanted_since("staff", at("2026-11-27T03:00")) == at("2026-11-26T02:00")
