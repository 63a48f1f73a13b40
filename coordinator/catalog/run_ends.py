"""How runs ended, to and from the record that archives of runs have of it: steps of transactions."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from ...proto.records import ArchiveId, Partition, RunId, Skipped
from ...proto.run_ends import RunEnd, ScopeEnd, UnitEnd
from ...proto.structs import astuple, replace
from ..history import Unplanned
from . import journal, queries, standing, units
from .values import iso, raw, run_number

COUNTS = (
    *("mailboxes", "departed", "skipped", "excluded", "messages", "read", "added", "vanished"),
    *("size_bytes", "new_bytes", "archive_bytes", "peak_memory_bytes"),
)
"""The columns of a unit that its ``counts`` are, in this order. New ones come last."""


_ENTER_UNIT = (
    "UPDATE units SET state = ?, attempts = ?, error = CAST(? AS TEXT), seconds = ?, cpu_seconds = ?,"  # noqa: S608
    f" ended = ?, {', '.join(f'{column} = ?' for column in COUNTS)} WHERE number = ?"
)


def run_end(database: sqlite3.Connection, run: RunId) -> RunEnd:
    """What is known of a run that has ended."""
    number = journal.known_run(database, run)
    row = database.execute("SELECT * FROM runs WHERE number = ?", (number,)).fetchone()
    unplanned = journal.unplanned(database, number)
    found = database.execute(queries.UNIT_ENDS, (number,)).fetchall()
    places = {one["number"]: place for place, one in enumerate(found)}
    return RunEnd(
        run=run,
        started=_seconds(row["started"]) or 0.0,
        ended=_seconds(row["ended"]),
        state=row["state"],
        resumed=row["resumed"],
        paths=row["paths"],
        options=row["options"],
        narrowed=bool(row["narrowed"]),
        error=row["error"],
        stores=tuple(
            (store.name, store.format, store.path, " ".join(store.hosts))
            for store in journal.stores(row["stores"])
        ),
        units=tuple(map(_unit_end, found)),
        failed=unplanned.failed,
        left_out=unplanned.left_out,
        alarms=journal.alarms_of(database, number),
        skipped=tuple(
            (places[unit], Skipped(*entry))
            for unit, *entry in database.execute(queries.SKIPPED_OF_UNITS, (number,))
        ),
        scopes=tuple(_scope_ends(database)),
    )


def _unit_end(row: sqlite3.Row) -> UnitEnd:
    return UnitEnd(
        partition=row["partition"],
        group=row["group"],
        shard=row["shard"],
        state=row["state"],
        archive=None if row["archive"] is None else ArchiveId(row["archive"]),
        file=row["name"] or "",
        attempts=row["attempts"],
        error=row["error"],
        counts=tuple(row[column] for column in COUNTS),
        seconds=row["seconds"],
        cpu_seconds=row["cpu_seconds"],
        ended=_seconds(row["ended"]),
    )


def _scope_ends(database: sqlite3.Connection) -> Iterator[ScopeEnd]:
    ids = dict(database.execute("SELECT number, run FROM runs"))
    for scope in database.execute(queries.SCOPES, (None, None)).fetchall():
        rows = database.execute(queries.PRESENT, (scope["number"],)).fetchall()
        counts = Counter(row["good"] for row in rows if row["good"] is not None)
        good = counts.most_common(1)[0][0] if counts else None
        stored = {user for user, _ in database.execute(queries.STORED_NOW, (scope["number"],))}
        yield ScopeEnd(
            partition=scope["partition"],
            group=scope["group"],
            good=ids.get(good, ""),
            others=tuple(
                (
                    row["user"],
                    ids.get(row["good"], ""),
                    ids.get(row["since"], ""),
                    row["reason"],
                    row["detail"],
                )
                for row in rows
                if row["good"] != good or row["reason"] or row["user"] not in stored
            ),
            passed_over=tuple(sorted(stored - {row["user"] for row in rows})),
        )


def with_known_units(database: sqlite3.Connection, end: RunEnd) -> RunEnd:
    """See ``CatalogReader.with_known_units``."""

    def known(one: UnitEnd) -> UnitEnd:
        number = units.unit_number(database, end.run, one.partition, one.group, one.shard)
        row = database.execute("SELECT * FROM units WHERE number = ?", (number,)).fetchone()
        if row is None:
            return one
        if row["mailboxes"] < one.counts[0]:
            one = replace(one, counts=tuple(row[column] for column in COUNTS))
        if one.archive is not None and row["state"] == "unchanged":
            one = replace(one, state="unchanged", archive=None, file="")
        return one

    return replace(end, units=tuple(map(known, end.units)))


def enter_runs(database: sqlite3.Connection, ends: Iterable[RunEnd], known_to: RunId | None = None) -> None:
    """Enter how runs ended beside what archives have told of their units. Of a run the last end counts, and
    for how mailboxes stand that of the last run, if that is not before what is ``known_to`` the catalog."""
    newest: dict[RunId, RunEnd] = {}
    for end in ends:
        known = newest.get(end.run)
        if known is None or known.resumed < end.resumed:
            newest[end.run] = end
    for run in sorted(newest):
        _enter_run(database, newest[run])
    if newest and max(newest) >= (known_to or ""):
        last = newest[max(newest)]
        database.execute("DELETE FROM present")
        for scope in last.scopes:
            standing.enter_scope(database, scope, run_number(last.run))


def _enter_run(database: sqlite3.Connection, end: RunEnd) -> None:
    number, started = run_number(end.run), datetime.fromtimestamp(end.started, UTC)
    if database.execute("SELECT 1 FROM runs WHERE number = ?", (number,)).fetchone() is None:
        journal.insert_run(database, end.run, started, "partial")
    unplanned = Unplanned(failed=end.failed, left_out=end.left_out)
    database.execute(
        "UPDATE runs SET started = ?, ended = ?, state = ?, paths = CAST(? AS TEXT),"
        " options = CAST(? AS TEXT), narrowed = ?, error = CAST(? AS TEXT), resumed = ?, alarms = ?,"
        " unplanned = ?, skipped = ?, excluded = ?, stores = ? WHERE number = ?",
        (
            iso(started),
            _iso(end.ended),
            end.state,
            raw(end.paths),
            raw(end.options),
            end.narrowed,
            raw(end.error),
            end.resumed,
            json.dumps([astuple(alarm) for alarm in end.alarms]),
            *journal.encode_unplanned(unplanned),
            journal.encode_stores(
                Partition(name=name, format=format_, path=path, hosts=tuple(hosts.split()))
                for name, format_, path, hosts in end.stores
            ),
            number,
        ),
    )
    numbers = [_enter_unit(database, end.run, unit_end) for unit_end in end.units]
    database.executemany("DELETE FROM skipped WHERE unit = ?", ((unit,) for unit in numbers))
    database.executemany(
        "INSERT INTO skipped (unit, path, reason, detail)"
        " VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))",
        ((numbers[place], raw(skip.path), raw(skip.reason), raw(skip.detail)) for place, skip in end.skipped),
    )


def _enter_unit(database: sqlite3.Connection, run: RunId, end: UnitEnd) -> int:
    names = run, end.partition, end.group, end.shard
    number = units.unit_number(database, *names)
    state = end.state
    if number is None:
        units.insert_unit(database, *names)
        number = units.planned_unit(database, *names)
    elif database.execute("SELECT 1 FROM archives WHERE unit = ?", (number,)).fetchone():
        state = "sealed"  # also where its run ended before it could record that
    database.execute(
        _ENTER_UNIT,
        (
            state,
            end.attempts,
            raw(end.error),
            end.seconds,
            end.cpu_seconds,
            _iso(end.ended),
            *_padded(end.counts),
            number,
        ),
    )
    return number


def missing_archives(database: sqlite3.Connection, ends: Iterable[RunEnd]) -> Iterator[Skipped]:
    """Enter the archives that units had sealed and that are not there, as missing: those of runs that are
    kept, for what was purged may be deleted. Yields each."""
    for end in ends:
        for unit_end in end.units:
            if unit_end.archive is None or not unit_end.counts[0]:
                continue
            unit = units.planned_unit(database, end.run, unit_end.partition, unit_end.group, unit_end.shard)
            if database.execute(queries.ARCHIVE_OF_KEPT_UNIT, (unit,)).fetchone() is None:
                continue
            units.insert_missing(
                database, unit_end.archive, unit, unit_end.file, unit_end.counts[10], _iso(unit_end.ended)
            )
            where = f"{unit_end.partition}/{unit_end.group}/{unit_end.shard}"
            yield Skipped(
                unit_end.archive.hex(), "missing", f"run {end.run} stored {where} in {unit_end.file}"
            )


def _padded(counts: Sequence[int]) -> Sequence[int]:
    return (*counts, *(0 for _ in COUNTS))[: len(COUNTS)]


def _seconds(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else iso(datetime.fromtimestamp(seconds, UTC))
