"""``mailhaul runs``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ...proto.records import Skipped
from ..catalog import Catalog
from ..history import ArchiveRecord, RunRecord, UnitRecord
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
    Column("messages"),
    Column("read"),
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
    Column("read"),
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
        _tell_run(
            record,
            catalog.units(record.run),
            list(catalog.archives(record.run)),
            list(catalog.skipped(record.run)),
            area,
            as_json=as_json,
        )
    return EXIT_OK


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
        one.state,
        number(one.mailboxes),
        number(one.messages),
        size(one.size_bytes),
        size(one.new_bytes),
        size(one.archive_bytes),
        number(one.skipped),
    )


def _tell_run(
    record: RunRecord,
    units: Sequence[UnitRecord],
    archives: Sequence[ArchiveRecord],
    skipped: Sequence[Skipped],
    area: Path,
    *,
    as_json: bool,
) -> None:
    files = {(one.partition, one.group, one.shard): area / one.file for one in archives}
    if as_json:
        output.print_json(
            {
                **_run(record),
                "units": [_unit(one, files.get((one.partition, one.group, one.shard))) for one in units],
                "skipped_entries": skipped,
            }
        )
        return
    ended = f", ended {moment(record.ended)}" if record.ended else ""
    say(f"run {record.run}: {record.state}")
    say(f"started {moment(record.started)}{ended}")
    say(output.shown(f"of {record.paths or '/'}"))
    if record.error:
        say(output.shown(f"error: {record.error}"))
    say()
    output.print_table(_UNITS, map(_unit_row, units))
    for one in units:
        if one.error:
            say(output.shown(f"{_label(one)}: {one.error}"))
    if files:
        say()
        for file in files.values():
            say(output.shown(str(file)))
    if skipped:
        say()
        say(f"{counted(len(skipped), 'entry', 'entries')} skipped:")
        for entry in skipped:
            say(output.shown(f"  {entry.path} ({entry.reason}) {entry.detail}".rstrip()))


def _label(one: UnitRecord) -> str:
    return f"{one.partition}/{one.group}/{one.shard}"


def _unit_row(one: UnitRecord) -> Sequence[str]:
    return (
        _label(one),
        one.state,
        number(one.attempts),
        duration(one.seconds),
        number(one.mailboxes),
        number(one.messages),
        size(one.size_bytes),
        size(one.new_bytes),
        size(one.archive_bytes),
        number(one.skipped),
    )


def _run(one: RunRecord) -> dict[str, object]:
    seconds = (one.ended - one.started).total_seconds() if one.ended else None
    return {field.name: getattr(one, field.name) for field in fields(one)} | {"seconds": seconds}


def _unit(one: UnitRecord, file: Path | None) -> dict[str, object]:
    return {field.name: getattr(one, field.name) for field in fields(one)} | {"file": file}
