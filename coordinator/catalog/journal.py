"""The journal of runs: each function is one step of a transaction in which a run records what it does."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from ...proto.errors import DamagedError, NotFoundError
from ...proto.records import ARCHIVE_ID_BYTES, ArchiveId, Departed, Partition, RunId, Skipped, Unit
from ...proto.structs import asdict, astuple
from ..history import RunState, UnitPlan, Unplanned
from ..reasons import EXCLUDED, NO_FAULT
from . import queries
from .database import ADVICE
from .values import iso, raw, run_number

_INTERRUPTED = "the program ended before the run did: it was killed, or the host went down"


def insert_run(
    database: sqlite3.Connection,
    run: RunId,
    started: datetime,
    state: RunState,
    *,
    paths: str = "",
    options: str = "",
    narrowed: bool = False,
    mode: str = "",
    stores: Sequence[Partition] = (),
    error: str = "",
    unplanned: Unplanned | None = None,
) -> None:
    """A run that has begun. Twice the same is an IntegrityError."""
    database.execute(
        "INSERT INTO runs (number, run, started, state, paths, options, narrowed, mode, stores, error,"
        " unplanned, skipped, excluded) VALUES (?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?,"
        " CAST(? AS TEXT), ?, CAST(? AS TEXT), ?, ?, ?)",
        (
            run_number(run),
            run,
            iso(started),
            state,
            raw(paths),
            raw(options),
            narrowed,
            raw(mode),
            encode_stores(stores),
            raw(error),
            *encode_unplanned(unplanned or Unplanned()),
        ),
    )


def encode_stores(stores: Iterable[Partition]) -> str:
    """Where partitions lie, as text."""
    return json.dumps([[store.name, store.format, store.path, list(store.hosts)] for store in stores])


def stores(text: str) -> tuple[Partition, ...]:
    """What ``encode_stores`` made. Raises DamagedError."""
    try:
        return tuple(
            Partition(name=str(name), format=str(format_), path=str(path), hosts=tuple(map(str, hosts)))
            for name, format_, path, hosts in json.loads(text)
        )
    except (TypeError, ValueError) as error:
        raise DamagedError(f"the catalog holds partitions that are none; {ADVICE}") from error


def encode_unplanned(unplanned: Unplanned) -> tuple[str, int, int]:
    """What no unit of a run holds, as text; how much of it is a fault, how much was left out on purpose."""
    faults = sum(skip.reason not in NO_FAULT for skip in unplanned.left_out)
    excluded = sum(one.reason in EXCLUDED for one in unplanned.left_out)
    return json.dumps(unplanned, default=asdict), faults, excluded


def close_run(
    database: sqlite3.Connection,
    number: int,
    ended: datetime | None,
    error: str,
    *,
    interrupted: bool = False,
) -> RunState:
    """A run has ended; returns how."""
    planned, good = database.execute(
        "SELECT count(*), count(*) FILTER (WHERE state IN ('sealed', 'unchanged')) FROM units WHERE run = ?",
        (number,),
    ).fetchone()
    state: RunState = "partial"
    if good == planned and not error:
        state = "done"
    elif interrupted:
        state = "interrupted"
    elif good == 0:
        state = "failed"
    database.execute(
        "UPDATE runs SET ended = ?, state = ?, error = CAST(? AS TEXT) WHERE number = ?",
        (ended and iso(ended), state, raw(error), number),
    )
    return state


def close_interrupted(database: sqlite3.Connection) -> None:
    """End the runs that are still ``running``: the caller holds the run lock, so their programs have died."""
    for (left,) in database.execute("SELECT number FROM runs WHERE state = 'running'").fetchall():
        close_run(database, left, None, _INTERRUPTED, interrupted=True)


def drop_plans(database: sqlite3.Connection) -> None:
    """Forget what the units consist of that are not done."""
    close_interrupted(database)
    database.execute("UPDATE units SET plan = NULL WHERE plan IS NOT NULL")


def has_dropped_plans(database: sqlite3.Connection, number: int) -> bool:
    """Whether units of a run are not done, and it is not known any more what they consist of."""
    return database.execute(queries.DROPPED_PLAN, (number,)).fetchone() is not None


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


def renew_run(database: sqlite3.Connection, number: int, resumed: int) -> int:
    """As if a run that has ended had gone on once more, after ``resumed`` times at least; returns how often
    it has then."""
    row = database.execute("SELECT resumed FROM runs WHERE number = ?", (number,)).fetchone()
    renewed = max(resumed, row["resumed"] if row else 0) + 1
    database.execute("UPDATE runs SET resumed = ? WHERE number = ?", (renewed, number))
    return renewed


def known_run(database: sqlite3.Connection, run: RunId) -> int:
    """The number of a run. Raises NotFoundError."""
    number = run_number(run)
    if database.execute("SELECT 1 FROM runs WHERE number = ?", (number,)).fetchone() is None:
        raise NotFoundError(f"the catalog knows no run {run}", run=run)
    return number


def add_alarms(database: sqlite3.Connection, number: int, alarms: Iterable[Skipped]) -> None:
    """Add to the alarms of a run those that are not among them."""
    known = list(dict.fromkeys((*alarms_of(database, number), *alarms)))
    text = json.dumps([astuple(skip) for skip in known])
    database.execute("UPDATE runs SET alarms = ? WHERE number = ?", (text, number))


def alarms_of(database: sqlite3.Connection, number: int) -> tuple[Skipped, ...]:
    """The alarms of a run."""
    row = database.execute("SELECT alarms FROM runs WHERE number = ?", (number,)).fetchone()
    try:
        return () if row is None else tuple(Skipped(*map(str, load)) for load in json.loads(row[0]))
    except (TypeError, ValueError) as error:
        raise DamagedError(f"the catalog holds alarms that are none; {ADVICE}") from error


def encode_plan(unit: Unit) -> str:
    """What a unit consists of, as text: names that are not UTF-8 are escaped."""
    return json.dumps(
        {
            "archive": unit.archive.hex(),
            "users": unit.users,
            "departed": [astuple(departed) for departed in unit.departed],
            "carried": [astuple(one) for one in unit.carried],
            "size_bytes": unit.size_bytes,
            "messages": unit.messages,
        },
        separators=(",", ":"),
    )


def _archive_id(text: str) -> ArchiveId:
    archive = ArchiveId(bytes.fromhex(text))
    if len(archive) != ARCHIVE_ID_BYTES:
        raise ValueError("no id of an archive")
    return archive


def _departed(values: Sequence[object]) -> Departed:
    user, reason, detail, run = map(str, values)
    return Departed(user, reason, detail, RunId(run))


def planned(row: sqlite3.Row) -> UnitPlan:
    """A unit that is not done, from its row. Raises DamagedError."""
    try:
        plan = json.loads(row["plan"])
        return UnitPlan(
            partition=row["partition"],
            group=row["group"],
            shard=row["shard"],
            archive=_archive_id(plan["archive"]),
            users=tuple(map(str, plan["users"])),
            departed=tuple(map(_departed, plan["departed"])),
            carried=tuple(map(_departed, plan["carried"])),
            size_bytes=int(plan["size_bytes"]),
            messages=int(plan["messages"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the catalog holds a plan that is none; {ADVICE}") from error


def unplanned(database: sqlite3.Connection, number: int) -> Unplanned:
    """What no unit of a run holds. Raises DamagedError."""
    (text,) = database.execute("SELECT unplanned FROM runs WHERE number = ?", (number,)).fetchone()
    try:
        found = json.loads(text)
        return Unplanned(
            failed=tuple((str(what), str(code), str(error)) for what, code, error in found["failed"]),
            left_out=tuple(Skipped(**one) for one in found["left_out"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the catalog holds a plan that is none; {ADVICE}") from error
