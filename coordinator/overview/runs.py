"""Runs as they are listed: by ``mailhaul runs --json``, on the page and in its API alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from ...proto.records import RunId, Skipped
from ...proto.structs import Record, asdict, field
from ..catalog.reading import CatalogReader
from ..history import PlaceStanding, RunPlaces, RunRecord, UnitRecord, Version
from ..hooks import HookFailure, failures_of

MOST = 100
"""So many entries of a list are in one answer; the next has the following ones."""


class ListedRun(RunRecord, kw_only=True):
    """A run, how long it took (None: it has not ended), and where its archives are: so many are ``staged``,
    of ``staged_only`` no copy counts elsewhere, ``freed`` ones have left the staging area."""

    seconds: float | None = None
    staged: int = 0
    staged_only: int = 0
    freed: int = 0
    places: tuple[PlaceStanding, ...] = ()


class RunList(Record, kw_only=True):
    """Runs, the newest first. ``before`` is what to ask for the older ones with, None if there are
    none."""

    runs: tuple[ListedRun, ...]
    before: RunId | None = None


class RunDetails(Record, kw_only=True):
    """A run with its units (failed ones first), alarms, the mailboxes that it found departed, and what it
    left out in no unit: of each list the first ones. ``reasons`` counts all that it left out."""

    run: ListedRun
    units: tuple[UnitRecord, ...] = ()
    alarm_entries: tuple[Skipped, ...] = ()
    failed_partitions: tuple[Skipped, ...] = ()
    left_out: tuple[Skipped, ...] = ()
    departed_mailboxes: tuple[Version, ...] = ()
    failed_hooks: tuple[HookFailure, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)


class RunUnits(Record, kw_only=True):
    """Units of a run, failed ones first, of so many in all (``total``). ``behind`` is what to ask for the
    following ones with, None if there are none."""

    run: RunId
    units: tuple[UnitRecord, ...]
    total: int
    behind: int | None = None


class SkippedEntries(Record, kw_only=True):
    """What the units of a run left out, in the order of their commits. ``behind`` is what to ask for the
    following ones with, None if there are none."""

    run: RunId
    entries: tuple[Skipped, ...]
    behind: int | None = None


def listed(run: RunRecord, places: RunPlaces | None) -> ListedRun:
    """A run with where its archives are; None for one without."""
    seconds = (run.ended - run.started).total_seconds() if run.ended else None
    if places is None:
        return ListedRun(**asdict(run), seconds=seconds)
    return ListedRun(
        **asdict(run),
        seconds=seconds,
        staged=places.staged,
        staged_only=places.staged_only,
        freed=places.freed,
        places=places.places,
    )


def listed_runs(catalog: CatalogReader, runs: Sequence[RunRecord]) -> tuple[ListedRun, ...]:
    """The same of several runs that follow each other, newest first."""
    if not runs:
        return ()
    places = catalog.run_places(runs[-1].run, runs[0].run)
    return tuple(listed(run, places.get(run.run)) for run in runs)


def run_list(catalog: CatalogReader, before: RunId | None = None, most: int = MOST) -> RunList:
    """A page of all runs."""
    runs = catalog.runs(most + 1, before)
    shown = listed_runs(catalog, runs[:most])
    return RunList(runs=shown, before=shown[-1].run if len(runs) > most else None)


def run_details(catalog: CatalogReader, staging: Path, run: str, most: int = MOST) -> RunDetails:
    """All of one run, named by its id or a time. Raises NotFoundError, UsageError."""
    record = catalog.run(run)
    return RunDetails(
        run=listed_runs(catalog, [record])[0],
        units=run_units(catalog, record.run, most=most).units,
        alarm_entries=catalog.alarms(record.run)[:most],
        failed_partitions=catalog.unlisted(record.run)[:most],
        left_out=catalog.left_out(record.run)[:most],
        departed_mailboxes=tuple(islice(catalog.departures(record.run), most)),
        failed_hooks=tuple(failures_of(staging, record.run)[:most]),
        reasons=dict(catalog.reasons(record.run).most_common()),
    )


def run_units(catalog: CatalogReader, run: str, behind: int = 0, most: int = MOST) -> RunUnits:
    """A page of the units of a run, behind so many others. Raises NotFoundError, UsageError."""
    found = catalog.run(run).run
    units = sorted(catalog.units(found), key=lambda unit: unit.state not in ("failed", "planned"))
    end = behind + most
    return RunUnits(
        run=found,
        units=tuple(units[behind:end]),
        total=len(units),
        behind=end if end < len(units) else None,
    )


def skipped_entries(catalog: CatalogReader, run: str, behind: int = 0, most: int = MOST) -> SkippedEntries:
    """A page of what a run left out. Raises NotFoundError, UsageError."""
    found = catalog.run(run).run
    entries = catalog.skipped_behind(found, behind, most + 1)
    shown = entries[:most]
    return SkippedEntries(
        run=found,
        entries=tuple(entry for _, entry in shown),
        behind=shown[-1][0] if len(entries) > most else None,
    )
