"""``mailhaul runs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_OK
from ...proto.records import Skipped
from ..catalog import Catalog
from ..history import RunRecord, UnitRecord, Version
from . import output
from .configuration import staging_area
from .options import json_option, staging_option
from .output import Column, counted, duration, moment, number, say, size
from .program import Invocation

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
]
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
@click.argument("run", required=False)
@staging_option
@json_option
@click.pass_obj
def command(invocation: Invocation, run: str | None, staging: Path | None, as_json: bool) -> int:
    """List the runs, newest first; or tell all about one: RUN is its id, latest, or an ISO time.

    Of all the messages, so many were read in the run; the others were known and had not changed. Messages
    came to folders and went from them since the run before. What is purged can't be restored any more as it
    was in that run.

    \b
    Example: what was skipped or failed in the last run
      mailhaul runs latest
    """
    area = staging_area(invocation, staging)
    with Catalog.open(area) as catalog:
        if run is None:
            _list_runs(catalog.runs(), as_json=as_json)
            return EXIT_OK
        record = catalog.run(run)
        told = _Told(
            record=record,
            units=catalog.units(record.run),
            files={
                (one.partition, one.group, one.shard): area / one.file
                for one in catalog.archives(record.run)
                if not one.missing
            },
            departed=catalog.departures(record.run),
            alarms=catalog.alarms(record.run),
            left_out=catalog.left_out(record.run),
            skipped=list(catalog.skipped(record.run)),
        )
    if as_json:
        output.print_json(_document(told))
    else:
        _tell(told)
    return EXIT_OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """All that is told of a run; ``files`` are the archives that are there, by unit."""

    record: RunRecord
    units: Sequence[UnitRecord]
    files: Mapping[tuple[str, str, int], Path]
    departed: Sequence[Version]
    alarms: Sequence[Skipped]
    left_out: Sequence[Skipped]
    skipped: Sequence[Skipped]


def _list_runs(runs: Sequence[RunRecord], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"runs": map(_run, runs)})
    else:
        output.print_table(_RUNS, map(_run_row, runs))


def _run_row(one: RunRecord) -> Sequence[str]:
    return (
        one.run,
        moment(one.started),
        duration((one.ended - one.started).total_seconds()) if one.ended else "-",
        _state(one),
        number(one.mailboxes),
        number(one.departed),
        number(one.messages),
        size(one.size_bytes),
        number(one.read),
        f"+{number(one.added)}",
        f"-{number(one.vanished)}",
        size(one.new_bytes),
        size(one.archive_bytes),
        number(one.skipped),
    )


def _document(told: _Told) -> dict[str, object]:
    return {
        **_run(told.record),
        "units": [_unit(one, told.files.get((one.partition, one.group, one.shard))) for one in told.units],
        "departed_mailboxes": [
            {"path": _path(one), "reason": one.departed, "detail": one.detail} for one in told.departed
        ],
        "alarm_entries": told.alarms,
        "left_out_entries": told.left_out,
        "skipped_entries": told.skipped,
    }


def _tell(told: _Told) -> None:
    record = told.record
    ended = f", ended {moment(record.ended)}" if record.ended else ""
    say(f"run {record.run}: {_state(record)}")
    say(f"started {moment(record.started)}{ended}")
    say(output.shown(f"of {record.paths or '/'} {record.options}".rstrip()))
    if record.error:
        say(output.shown(f"error: {record.error}"))
    say()
    output.print_table(_UNITS, map(_unit_row, told.units))
    for one in told.units:
        if one.error:
            say(output.shown(f"{_label(one)}: {one.error}"))
    if told.files:
        say()
        for file in told.files.values():
            say(output.shown(str(file)))
    _tell_entries("alarm", "alarms", told.alarms)
    gone = [Skipped(_path(one), one.departed, one.detail) for one in told.departed]
    _tell_entries("mailbox departed", "mailboxes departed", gone)
    _tell_entries("left out as a whole", "left out as a whole", told.left_out)
    _tell_entries("entry skipped", "entries skipped", told.skipped)


def _tell_entries(one: str, many: str, entries: Sequence[Skipped]) -> None:
    if entries:
        say()
        say(f"{counted(len(entries), one, many)}:")
        for entry in entries:
            say(output.shown(f"  {entry.path} ({entry.reason}) {entry.detail}".rstrip()))


def _state(one: RunRecord) -> str:
    alarms = counted(one.alarms, "alarm") if one.alarms else ""
    return ", ".join(filter(None, (one.state, "purged" if one.purged else "", alarms)))


def _path(one: Version) -> str:
    return str(LogicalPath(one.partition, one.group, one.user))


def _label(one: UnitRecord) -> str:
    return f"{one.partition}/{one.group}/{one.shard}"


def _unit_row(one: UnitRecord) -> Sequence[str]:
    return (
        _label(one),
        f"{one.state}, purged" if one.purged else one.state,
        number(one.attempts),
        duration(one.seconds),
        number(one.mailboxes),
        number(one.messages),
        size(one.size_bytes),
        number(one.read),
        f"+{number(one.added)}",
        f"-{number(one.vanished)}",
        size(one.new_bytes),
        size(one.archive_bytes),
        number(one.skipped),
    )


def _run(one: RunRecord) -> dict[str, object]:
    seconds = (one.ended - one.started).total_seconds() if one.ended else None
    return {field.name: getattr(one, field.name) for field in fields(one)} | {"seconds": seconds}


def _unit(one: UnitRecord, file: Path | None) -> dict[str, object]:
    return {field.name: getattr(one, field.name) for field in fields(one)} | {"file": file}
