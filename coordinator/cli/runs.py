"""``mailhaul runs``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_OK
from ...proto.records import STAGING, Skipped
from ...proto.structs import Record, asdict
from ..catalog import Catalog
from ..history import ArchiveRecord, PlaceStanding, RunRecord, UnitRecord, Version
from ..hooks import HookFailure, failures_of
from ..overview.runs import ListedRun, listed_runs
from ..reasons import EXCLUDED, NO_FAULT
from ..sweeping.policy import staged_copy
from ..verifying.accepting import AcceptedLoss, accepted_at, read_accepted
from . import output
from .configuration import staging_area
from .options import json_option, refuse, staging_option
from .output import Column, counted, duration, number, say, size
from .program import Invocation
from .times import MOMENT, both

_RUNS = [
    Column("run", "<"),
    Column("started", "<", extra=True),
    Column("took"),
    Column("state", "<"),
    Column("mailboxes", extra=True),
    Column("departed", extra=True),
    Column("messages"),
    Column("size"),
    Column("read"),
    Column("came", extra=True),
    Column("went", extra=True),
    Column("new", extra=True),
    Column("archives"),
    Column("skipped"),
    Column("lie in", "<"),
]
_LISTED = 20
"""So many entries of a list are shown; an option or --json has all."""

_LISTED_UNITS = 50

_UNITS = [
    Column("unit", "<"),
    Column("state", "<"),
    Column("tries", extra=True),
    Column("took"),
    Column("mailboxes"),
    Column("messages"),
    Column("size"),
    Column("read"),
    Column("came", extra=True),
    Column("went", extra=True),
    Column("new", extra=True),
    Column("archive"),
    Column("skipped"),
]


@click.command("runs")
@click.argument("run", type=MOMENT, required=False)
@staging_option
@click.option(
    "--skipped",
    "lists",
    flag_value="skipped",
    help="List everything that RUN should have stored and did not.",
)
@click.option(
    "--excluded", "lists", flag_value="excluded", help="List everything that RUN left out on purpose."
)
@click.option(
    "--failed", "lists", flag_value="failed", help="List the units and partitions that failed in RUN."
)
@json_option
@click.pass_obj
def command(
    invocation: Invocation, run: str | None, staging: Path | None, lists: str | None, as_json: bool
) -> int:
    """List the runs, newest first; or show one in full: RUN is its id, latest, or an ISO time.

    read: the messages that were read in the run; the others had not changed. came, went: messages that are
    new in their folder, or gone from it, since the run before. skipped: what should be in the backup and is
    not; excluded: what was left out on purpose. lie in: how many of its archives are in the staging area, and
    in each destination (in brackets those that are still to be looked at again, or were lost there). A purged
    run can't be restored any more.

    \b
    Example: everything that the last run skipped
      mailhaul runs latest --skipped
    """
    area = staging_area(invocation, staging)
    refuse(lists is not None and run is None, f"say of which run: mailhaul runs latest --{lists}")
    refuse(lists is not None and as_json, f"--json has all lists of a run: leave out --{lists}")
    with Catalog.open(area) as catalog:
        if run is None:
            _list_runs(listed_runs(catalog, catalog.runs()), as_json=as_json)
            return EXIT_OK
        told = _told(catalog, area, catalog.run(run))
    if as_json:
        output.print_json(_document(told))
    elif lists is not None:
        for skip in (entries := _listed(told, lists)):
            say(_entry_line(skip))
        if not entries:
            say(f"nothing {lists}")
    else:
        _tell(told)
    return EXIT_OK


def _told(catalog: Catalog, area: Path, record: RunRecord) -> _Told:
    left_out = catalog.left_out(record.run)
    entries = [*left_out, *catalog.skipped(record.run)]
    return _Told(
        record=listed_runs(catalog, [record])[0],
        units=catalog.units(record.run),
        area=area,
        archives={
            (archive.partition, archive.group, archive.shard): archive
            for archive in catalog.archives(record.run)
        },
        departed=catalog.departures(record.run),
        alarms=catalog.alarms(record.run),
        partitions=catalog.unlisted(record.run),
        skipped=[entry for entry in entries if entry.reason not in NO_FAULT],
        excluded=[skip for skip in entries if skip.reason in EXCLUDED],
        vanished=[one for one in entries if one.reason in NO_FAULT - EXCLUDED],
        accepted=accepted_at(read_accepted(area), record.run),
        hooks=failures_of(area, record.run),
    )


class _Told(Record, kw_only=True):
    """All that is told of a run; ``archives`` are its own, by unit, in the staging ``area`` and elsewhere;
    ``partitions`` those that could not be listed; ``accepted`` is what of this moment is lost for good;
    ``hooks`` have failed."""

    record: ListedRun
    units: Sequence[UnitRecord]
    area: Path
    archives: Mapping[tuple[str, str, int], ArchiveRecord]
    departed: Sequence[Version]
    alarms: Sequence[Skipped]
    partitions: Sequence[Skipped]
    skipped: Sequence[Skipped]
    excluded: Sequence[Skipped]
    vanished: Sequence[Skipped]
    accepted: Sequence[AcceptedLoss]
    hooks: Sequence[HookFailure]


def _list_runs(runs: Sequence[ListedRun], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"runs": runs})
    else:
        output.print_table(_RUNS, map(_run_row, runs))


def _run_row(run: ListedRun) -> Sequence[str]:
    return (
        run.run,
        both(run.started),
        duration((run.ended - run.started).total_seconds()) if run.ended else "-",
        _state(run),
        number(run.mailboxes),
        number(run.departed),
        number(run.messages),
        size(run.size_bytes),
        number(run.read),
        f"+{number(run.added)}",
        f"-{number(run.vanished)}",
        size(run.new_bytes),
        size(run.archive_bytes),
        number(run.skipped),
        output.shown(_lie_in(run.places)),
    )


def _lie_in(places: Sequence[PlaceStanding]) -> str:
    """``staging 2, vault 2 (1 copied)``: where archives are."""
    told: dict[str, str] = {}
    for standing in places:
        several = number(standing.archives)
        more = several if standing.state == "kept" else f" ({several} {standing.state})"
        told[standing.place] = told.get(standing.place, "") + more
    # Those that count first, in each place.
    return ", ".join(f"{place} {what.strip()}" for place, what in told.items())


def _document(told: _Told) -> dict[str, object]:
    return {
        **asdict(told.record),
        "units": [_unit(unit, told) for unit in told.units],
        "departed_mailboxes": [
            {"path": _path(version), "reason": version.departed, "detail": version.detail}
            for version in told.departed
        ],
        "alarm_entries": told.alarms,
        "failed_partitions": told.partitions,
        "skipped_entries": told.skipped,
        "excluded_entries": told.excluded,
        "vanished_entries": told.vanished,
        "accepted": told.accepted,
        "failed_hooks": told.hooks,
    }


def _tell(told: _Told) -> None:
    record = told.record
    ended = f", ended {both(record.ended)}" if record.ended else ""
    say(f"run {record.run}: {_state(record)}")
    say(f"started {both(record.started)}{ended}")
    say(output.shown(f"of {record.paths or '/'} {record.options}".rstrip()))
    if record.error:
        say(output.shown(f"error: {record.error}"))
    say()
    units = sorted(told.units, key=lambda one: one.state != "failed")
    output.print_table(_UNITS, map(_unit_row, units[:_LISTED_UNITS]))
    _tell_more(len(units) - _LISTED_UNITS, "--json has all")
    if lines := [line for archive in told.archives.values() if (line := _archive_line(archive, told.area))]:
        say()
        for line in lines[:_LISTED]:
            say(output.shown(line))
        _tell_more(len(lines) - _LISTED, "--json has all")
    again = f"`mailhaul runs {record.run}"
    _tell_entries("failed", _listed(told, "failed"), f"{again} --failed` lists all")
    _tell_entries("alarms", told.alarms, "--json has all")
    gone = [Skipped(_path(version), version.departed, version.detail) for version in told.departed]
    _tell_entries("mailboxes departed", gone, "--json has all")
    _tell_entries("skipped", told.skipped, f"{again} --skipped` lists all")
    _tell_sums("excluded", told.excluded, f"{again} --excluded` lists them")
    _tell_sums("vanished while they were looked at", told.vanished, "--json lists them")
    accepted = [Skipped(loss.path, loss.reason, f"accepted {loss.accepted}") for loss in told.accepted]
    _tell_entries("losses that were accepted", accepted, "--json has all")
    hooks = [Skipped(hook.hook, hook.why, hook.output.strip().replace("\n", "; ")) for hook in told.hooks]
    _tell_entries("hooks that failed", hooks, "--json has all")


def _listed(told: _Told, lists: str) -> Sequence[Skipped]:
    if lists == "failed":
        units = [Skipped(_label(unit), "failed", unit.error) for unit in told.units if unit.state == "failed"]
        return [*told.partitions, *units]
    return told.skipped if lists == "skipped" else told.excluded


def _entry_line(skipped: Skipped) -> str:
    return output.shown(f"{skipped.path} ({skipped.reason}) {skipped.detail}".rstrip())


def _tell_entries(what: str, entries: Sequence[Skipped], rest: str) -> None:
    """A list with its sums by reason, the first entries, and where the rest is."""
    if entries:
        say()
        say(f"{what}: {_sums(entries)}")
        for entry in entries[:_LISTED]:
            say(f"  {_entry_line(entry)}")
        _tell_more(len(entries) - _LISTED, rest)


def _tell_sums(what: str, entries: Sequence[Skipped], rest: str) -> None:
    if entries:
        say()
        say(f"{what}: {_sums(entries)}; {rest}")


def _tell_more(more: int, rest: str) -> None:
    if more > 0:
        say(f"  and {number(more)} more ({rest})")


def _sums(entries: Sequence[Skipped]) -> str:
    counts = Counter(entry.reason for entry in entries)
    return (
        f"{number(len(entries))} ({', '.join(f'{why} {number(many)}' for why, many in counts.most_common())})"
    )


def _state(record: RunRecord) -> str:
    alarms = counted(record.alarms, "alarm") if record.alarms else ""
    return ", ".join(filter(None, (record.state, "purged" if record.purged else "", alarms)))


def _path(version: Version) -> str:
    return str(LogicalPath(version.partition, version.group, version.user))


def _label(record: UnitRecord) -> str:
    return f"{record.partition}/{record.group}/{record.shard}"


def _unit_row(record: UnitRecord) -> Sequence[str]:
    return (
        _label(record),
        f"{record.state}, purged" if record.purged else record.state,
        number(record.attempts),
        duration(record.seconds),
        number(record.mailboxes),
        number(record.messages),
        size(record.size_bytes),
        number(record.read),
        f"+{number(record.added)}",
        f"-{number(record.vanished)}",
        size(record.new_bytes),
        size(record.archive_bytes),
        number(record.skipped),
    )


def _unit(record: UnitRecord, told: _Told) -> dict[str, object]:
    archive = told.archives.get((record.partition, record.group, record.shard))
    staged = None if archive is None else _file(archive, told.area)
    copies = () if archive is None else [copy for copy in archive.copies if copy.place != STAGING]
    return asdict(record) | {
        "file": staged,
        "copies": copies,
    }


def _file(archive: ArchiveRecord, area: Path) -> Path | None:
    """Where an archive lies in the staging area."""
    copy = staged_copy(archive)
    return None if copy is None else area / copy.name


def _archive_line(archive: ArchiveRecord, area: Path) -> str:
    """Where an archive lies, best in the staging area; empty for one that is nowhere."""
    file = _file(archive, area)
    away = ", ".join(f"{copy.place}:{copy.name}" for copy in archive.copies if copy.state == "kept")
    return str(file) if file else away
