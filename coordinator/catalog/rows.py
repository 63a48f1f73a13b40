"""Rows of the catalog: each function is one step of a transaction, or turns a value into what is stored."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ...groups.paths import LogicalPath
from ...proto.errors import DamagedError, NotFoundError, UsageError
from ...proto.records import MailboxSummary, RunId, Skipped, Unit, UnitReport
from ..clock import RUN_ID
from ..history import ArchiveRecord, GoodBackup, RunRecord, RunState, UnitPlan, Unplanned
from . import schema
from .database import ADVICE


def insert_run(
    database: sqlite3.Connection,
    run: RunId,
    started: datetime,
    state: RunState,
    paths: str,
    options: str,
    error: str,
    unplanned: Unplanned | None = None,
) -> None:
    database.execute(
        "INSERT INTO runs (number, run, started, state, paths, options, error, unplanned)"
        " VALUES (?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)",
        (
            run_number(run),
            run,
            iso(started),
            state,
            raw(paths),
            raw(options),
            error,
            json.dumps(asdict(unplanned or Unplanned())),
        ),
    )


def close_run(database: sqlite3.Connection, number: int, ended: datetime | None, error: str) -> RunState:
    planned, sealed = database.execute(
        "SELECT count(*), count(*) FILTER (WHERE state = 'sealed') FROM units WHERE run = ?", (number,)
    ).fetchone()
    state: RunState = "partial"
    if sealed == planned and not error:
        state = "done"
    elif sealed == 0:
        state = "failed"
    database.execute(
        "UPDATE runs SET ended = ?, state = ?, error = CAST(? AS TEXT) WHERE number = ?",
        (ended and iso(ended), state, raw(error), number),
    )
    return state


def insert_unit(
    database: sqlite3.Connection, run: RunId, partition: str, group: str, shard: int, plan: str | None = None
) -> None:
    """A planned unit. Raises NotFoundError if its run has not begun; twice the same is an IntegrityError."""
    database.execute(
        "INSERT INTO units (run, scope, shard, plan) VALUES (?, ?, ?, ?)",
        (known_run(database, run), _scope_number(database, partition, group), shard, plan),
    )


def reopen_run(database: sqlite3.Connection, number: int) -> int:
    """A run goes on; returns how often it has been resumed by now."""
    database.execute(
        "UPDATE runs SET state = 'running', ended = NULL, error = '', resumed = resumed + 1 WHERE number = ?",
        (number,),
    )
    database.execute(
        "UPDATE units SET state = 'planned', error = '' WHERE run = ? AND state = 'failed'", (number,)
    )
    return int(database.execute("SELECT resumed FROM runs WHERE number = ?", (number,)).fetchone()[0])


def encode_plan(unit: Unit) -> str:
    """What a unit consists of, as text: names that are not UTF-8 are escaped."""
    return json.dumps(
        {"users": unit.users, "size_bytes": unit.size_bytes, "messages": unit.messages},
        separators=(",", ":"),
    )


def unplanned(database: sqlite3.Connection, number: int) -> Unplanned:
    (text,) = database.execute("SELECT unplanned FROM runs WHERE number = ?", (number,)).fetchone()
    try:
        found = json.loads(text)
        return Unplanned(
            failed=tuple((str(what), str(code), str(error)) for what, code, error in found["failed"]),
            left_out=tuple(Skipped(**one) for one in found["left_out"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the catalog holds a plan that is none; {ADVICE}") from error


def planned(row: sqlite3.Row) -> UnitPlan:
    try:
        plan = json.loads(row["plan"])
        return UnitPlan(
            partition=row["partition"],
            group=row["group"],
            shard=row["shard"],
            users=tuple(map(str, plan["users"])),
            size_bytes=int(plan["size_bytes"]),
            messages=int(plan["messages"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the catalog holds a plan that is none; {ADVICE}") from error


def _scope_number(database: sqlite3.Connection, partition: str, group: str) -> int:
    """The number of a (partition, group); a new one where it has none yet."""
    names = (raw(partition), raw(group))
    database.execute(
        "INSERT INTO scopes (partition, grp) VALUES (CAST(? AS TEXT), CAST(? AS TEXT))"
        " ON CONFLICT DO NOTHING",
        names,
    )
    return int(database.execute(schema.SCOPES, names).fetchone()["number"])


def unit_number(
    database: sqlite3.Connection, run: RunId, partition: str, group: str, shard: int
) -> int | None:
    row = database.execute(
        "SELECT u.number FROM units u JOIN scopes s ON s.number = u.scope"
        " WHERE u.run = ? AND u.shard = ? AND s.partition = CAST(? AS TEXT) AND s.grp = CAST(? AS TEXT)",
        (run_number(run), shard, raw(partition), raw(group)),
    ).fetchone()
    return None if row is None else int(row[0])


def planned_unit(database: sqlite3.Connection, run: RunId, partition: str, group: str, shard: int) -> int:
    found = unit_number(database, run, partition, group, shard)
    if found is None:
        raise NotFoundError(f"no unit {partition}/{group}.{shard} was planned in run {run}", run=run)
    return found


def seal_unit(
    database: sqlite3.Connection, report: UnitReport, sealed: datetime | None, attempts: int
) -> None:
    """All of a report, in place of what an earlier one may have left."""
    unit = planned_unit(database, report.run, report.partition, report.group, report.shard)
    for table in ("archives", "mailboxes", "skipped"):
        database.execute(f"DELETE FROM {table} WHERE unit = ?", (unit,))  # noqa: S608
    counts = (len(report.mailboxes), len(report.skipped), report.messages, report.size_bytes)
    cost = (report.seconds, report.cpu_seconds, report.peak_memory_bytes)
    database.execute(
        schema.SEAL_UNIT, (attempts, *counts, report.new_bytes, report.archive_bytes, *cost, unit)
    )
    database.execute(
        "INSERT INTO archives (archive, unit, file, size_bytes, sealed) VALUES (?, ?, CAST(? AS TEXT), ?, ?)",
        (report.archive, unit, raw(report.file), report.archive_bytes, sealed and iso(sealed)),
    )
    _insert_mailboxes(database, unit, report.mailboxes)
    database.executemany(
        "INSERT INTO skipped (unit, path, reason, detail)"
        " VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))",
        ((unit, raw(one.path), raw(one.reason), raw(one.detail)) for one in report.skipped),
    )


def _insert_mailboxes(database: sqlite3.Connection, unit: int, mailboxes: Iterable[MailboxSummary]) -> None:
    scope, run = database.execute("SELECT scope, run FROM units WHERE number = ?", (unit,)).fetchone()
    database.executemany(
        "INSERT INTO mailboxes (scope, user, run, unit, folders, listed, stored, skipped, size_bytes)"
        " VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?)",
        (
            (scope, raw(m.user), run, unit, m.folders, m.listed, m.stored, m.skipped, m.size_bytes)
            for m in mailboxes
        ),
    )


def known_run(database: sqlite3.Connection, run: RunId) -> int:
    number = run_number(run)
    if database.execute("SELECT 1 FROM runs WHERE number = ?", (number,)).fetchone() is None:
        raise NotFoundError(f"the catalog knows no run {run}", run=run)
    return number


def checked(row: sqlite3.Row) -> dict[str, Any]:
    """The values of a row that names a run, by column. Raises DamagedError if that is no run id: nothing
    guards a value against damage but what it has to look like."""
    values = dict(row)
    if not RUN_ID.fullmatch(str(values["run"])):
        raise DamagedError(f"the catalog holds a run id that is none: {values['run']!r}; {ADVICE}")
    return values


def run_record(row: sqlite3.Row) -> RunRecord:
    values = checked(row)
    started, ended = _time(values.pop("started")), _time(values.pop("ended"))
    if started is None:
        raise DamagedError(f"the catalog does not say when run {values['run']} started; {ADVICE}")
    return RunRecord(started=started, ended=ended, **values)


def archive_record(row: sqlite3.Row) -> ArchiveRecord:
    values = checked(row)
    return ArchiveRecord(sealed=_time(values.pop("sealed")), **values)


def good_backup(scope: sqlite3.Row, sealed_runs: Iterable[sqlite3.Row]) -> GoodBackup:
    """The first of these runs that was over all of a scope."""
    partition, group = scope["partition"], scope["group"]
    for row in sealed_runs:
        values = checked(row)
        if any(path.covers(LogicalPath(partition, group)) for path in _paths(values["paths"])):
            sealed = _time(values["sealed"]) or _time(values["started"])
            return GoodBackup(partition=partition, group=group, run=values["run"], sealed=sealed)
    return GoodBackup(partition=partition, group=group, run=None, sealed=None)


def _paths(text: str) -> Iterator[LogicalPath]:
    """The paths of a run; none where they are not known. A slash after a space always begins one: within a
    name it is escaped."""
    for path in filter(None, re.split(r" (?=/)", text)):
        with suppress(UsageError):
            yield LogicalPath.parse(path)


def run_number(run: RunId) -> int:
    """A run id as an integer that sorts the same. Raises ValueError for what is no run id."""
    if not RUN_ID.fullmatch(run):
        raise ValueError(f"{run!r} is no run id")
    day, second, serial = run[:8], run[9:15], run[17:]
    return int(day + second) << 16 | int(serial, 16)


def raw(text: str) -> bytes:
    """A text as it is stored: the very bytes of a file name that is not UTF-8."""
    return text.encode(errors="surrogateescape")


def iso(when: datetime) -> str:
    """An aware time as it is stored, in UTC. Raises ValueError for one that is not aware."""
    # Whole seconds, as in run ids: who repeats the time that is shown finds the run.
    if when.tzinfo is None:
        raise ValueError(f"a time without an offset: {when}")
    return when.astimezone(UTC).isoformat(timespec="seconds")


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise DamagedError(f"the catalog holds a time that is none; {ADVICE}") from error
