"""Runs become nights, with a verdict that somebody can trust at a glance."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailhaul.bench.macro import catalogs
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.history import GoodBackup, RunRecord, UnitRecord
from mailhaul.coordinator.overview.nights import last_night, look_at_last_night, nights_between, nights_of
from mailhaul.coordinator.overview.runs import (
    ListedRun,
    run_details,
    run_list,
    run_units,
    skipped_entries,
)
from mailhaul.coordinator.scheduling.lateness import PlannedBackups
from mailhaul.coordinator.scheduling.settings import GroupTimes, ScheduleConfig
from mailhaul.coordinator.scheduling.timings import parse
from mailhaul.coordinator.service.records import Handled
from mailhaul.coordinator.settings import Config, StagingConfig
from mailhaul.proto.records import RunId, Skipped
from mailhaul.proto.structs import replace

MONDAY = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def run(started: datetime = MONDAY, **told: Any) -> RunRecord:
    """A run of half an hour that stored everything, but for what is said."""
    values: dict[str, Any] = {
        "run": RunId(f"{started:%Y%m%dT%H%M%SZ}-0000"),
        "started": started,
        "ended": started + timedelta(minutes=30),
        "state": "done",
        "paths": "/",
        "options": "",
        "error": "",
        "planned_units": 2,
        "sealed_units": 2,
        "failed_units": 0,
        "mailboxes": 10,
        "skipped": 0,
        "messages": 100,
        "size_bytes": 1000,
        "new_bytes": 50,
        "archive_bytes": 20,
    }
    return RunRecord(**values | told)


def verdict(*runs: RunRecord) -> tuple[str, str]:
    """Of the night of Monday."""
    (night,) = nights_of(runs, MONDAY.date(), MONDAY.date())
    return night.verdict, night.why


def test_a_night_is_as_good_as_its_worst_run() -> None:
    later = MONDAY + timedelta(hours=1)
    assert verdict() == ("none", "nothing ran")
    assert verdict(run()) == ("good", "everything was stored")
    assert verdict(run(skipped=3), run(later, alarms=1)) == ("fair", "3 entries skipped; 1 alarm")
    assert verdict(run(state="partial", failed_units=1), run(later, paths="/primary/a")) == (
        "bad",
        "1 unit of 2 failed",
    )
    assert verdict(run(state="failed", error="no answer")) == ("bad", "the run of 02:00 failed: no answer")
    assert verdict(run(), run(later, state="running", ended=None))[0] == "running"


def test_what_a_later_run_stored_is_not_held_against_the_night() -> None:
    broken = run(state="interrupted", ended=None, mailboxes=3)
    again = run(MONDAY + timedelta(hours=1), paths="/", mailboxes=10)
    assert verdict(broken, again) == ("fair", "1 attempt before it did not succeed")
    (night,) = nights_of([broken, again], MONDAY.date(), MONDAY.date())
    assert night.mailboxes == 10
    # A part of the store, or less than all of its mail, makes nothing good.
    assert verdict(broken, run(MONDAY + timedelta(hours=1), paths="/primary/a"))[0] == "bad"
    assert verdict(broken, run(MONDAY + timedelta(hours=1), narrowed=True))[0] == "bad"


def test_days_without_a_run_are_days_too() -> None:
    nights = nights_of([run()], MONDAY.date() - timedelta(days=1), MONDAY.date() + timedelta(days=1))
    assert [(night.day, night.verdict) for night in nights] == [
        ("2026-11-22", "none"),
        ("2026-11-23", "good"),
        ("2026-11-24", "none"),
    ]


def test_where_backups_are_planned_they_are_late_when_one_is_lacking() -> None:
    config = Config(
        staging=StagingConfig(path=Path("/nowhere")),
        partitions=(),
        schedule=ScheduleConfig(
            backup=(parse("mon 02:00"),), groups={"daily": GroupTimes(backup=(parse("02:00"),))}
        ),
    )
    begun = Handled(moment=MONDAY, full=MONDAY)
    planned = PlannedBackups(config, {"backup": begun, "backup:daily": begun}, UTC)

    def stored(partition: str, group: str) -> GoodBackup:
        newest = MONDAY + timedelta(minutes=9)
        return GoodBackup(
            partition=partition, group=group, run=None, sealed=newest, newest=newest, mailboxes=10
        )

    (night,) = nights_of([run()], MONDAY.date(), MONDAY.date())
    weekly, daily = stored("primary", "a"), stored("primary", "daily")
    # Three days later nothing is late that is planned for each week.
    assert last_night(night, [weekly], MONDAY + timedelta(days=3), planned).verdict == "good"
    assert last_night(night, [weekly], MONDAY + timedelta(days=7, hours=5), planned).verdict == "good"
    late = last_night(night, [weekly], MONDAY + timedelta(days=7, hours=6), planned)
    assert (late.verdict, late.headline) == ("bad", "A backup that was planned is lacking")
    assert late.lines == (
        "primary/a is late: nothing was stored since it was due on Monday, 30 November 2026, 02:00 UTC",
    )
    late = last_night(night, [weekly, daily], MONDAY + timedelta(days=1, hours=6), planned)
    assert (late.verdict, len(late.lines), "primary/daily" in late.lines[0]) == ("bad", 1, True)
    # Of others timers may see to it, as of all where there is no plan.
    config = replace(config, schedule=replace(config.schedule, backup=()))
    own = PlannedBackups(config, {"backup:daily": begun}, UTC)
    late = last_night(night, [weekly], MONDAY + timedelta(days=1, hours=7), own)
    assert (late.verdict, late.headline) == ("bad", "No backup since Monday, 23 November 2026")
    many = [stored(f"p{number}", "daily") for number in range(7)]
    late = last_night(night, many, MONDAY + timedelta(days=1, hours=6), planned)
    assert (len(late.lines), late.lines[-1]) == (6, "so are 2 other groups")
    (night,) = nights_of([run(state="running", ended=None)], MONDAY.date(), MONDAY.date())
    assert last_night(night, [daily], MONDAY + timedelta(days=1, hours=6), planned).verdict == "running"


def test_the_last_night_in_words() -> None:
    (night,) = nights_of([run()], MONDAY.date(), MONDAY.date())
    good = GoodBackup(partition="primary", group="a", run=None, sealed=None, mailboxes=10)
    morning = MONDAY + timedelta(hours=7)
    assert last_night(night, [good], morning).verdict == "good"
    late = last_night(night, [good], MONDAY + timedelta(days=3))
    assert (late.verdict, late.headline) == ("bad", "No backup since Monday, 23 November 2026")
    behind = GoodBackup(partition="primary", group="b", run=None, sealed=None, mailboxes=5, behind=2, never=1)
    told = last_night(night, [good, behind], morning)
    assert told.verdict == "fair"
    assert told.lines == (
        "2 mailboxes of 15 could not be stored whole",
        "1 mailbox was never stored whole",
    )
    assert last_night(None, [], morning).verdict == "none"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staging area with the records of 40 nights."""
    staging = tmp_path_factory.mktemp("small")
    catalogs.make(staging, catalogs.SMALL)
    return staging


def test_nights_are_those_of_the_runs_on_record(small: Path) -> None:
    last = catalogs.NEWEST.date()
    with Catalog.open(small) as catalog:
        nights = nights_between(catalog, last - timedelta(days=45), last).nights
        everything = {record.run: record for record in catalog.runs()}
        look = look_at_last_night(catalog, catalogs.NEWEST + timedelta(hours=5))
    assert len(nights) == 46
    assert {run_record for night in nights for run_record in night.runs} == set(everything.values())
    assert sum(night.new_bytes for night in nights) == sum(one.new_bytes for one in everything.values())
    for night in nights:
        assert {one.started.date() for one in night.runs} <= {date.fromisoformat(night.day)}
    assert look.night == nights[-1]
    assert look.mailboxes == catalogs.SMALL.mailboxes


def test_pages_of_runs_and_of_what_they_left_out_hold_everything_once(small: Path) -> None:
    with Catalog.open(small) as catalog:
        found: list[ListedRun] = []
        before: RunId | None = None
        while True:
            page = run_list(catalog, before, 7)
            found += page.runs
            if (before := page.before) is None:
                break
        assert [listed_run.run for listed_run in found] == [record.run for record in catalog.runs()]
        places = catalog.run_places()
        assert [one.places for one in found] == [places[one.run].places for one in found]
        run = max(found, key=lambda one: one.skipped).run
        entries: list[Skipped] = []
        behind = 0
        while True:
            part = skipped_entries(catalog, run, behind, 5)
            entries += part.entries
            if part.behind is None:
                break
            behind = part.behind
        assert len(entries) > 5
        assert entries == list(catalog.skipped(run))
        details = run_details(catalog, small, run, most=3)
    assert len(details.units) == 3
    assert details.run.skipped == found[[one.run for one in found].index(run)].skipped
    assert sum(details.reasons.values()) == len(entries)


def test_the_units_of_a_run_come_in_pages_failed_ones_first(small: Path) -> None:
    with Catalog.open(small) as catalog:
        newest = max(catalog.runs(), key=lambda record: record.failed_units).run
        whole = catalog.units(newest)
        seen: list[UnitRecord] = []
        behind: int | None = 0
        while behind is not None:
            part = run_units(catalog, newest, behind, most=3)
            assert part.total == len(whole) > 3
            seen += part.units
            behind = part.behind
        assert sorted(map(repr, seen)) == sorted(map(repr, whole))
        states = [unit.state in ("failed", "planned") for unit in seen]
        assert (any(states), states) == (True, sorted(states, reverse=True))
        assert run_units(catalog, newest, 10**17).units == ()
