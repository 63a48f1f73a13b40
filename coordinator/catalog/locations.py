"""Where copies of archives lie: each function is one step of a transaction that writes their rows, or a look
at them. An archive of which no copy is left but lost ones is ``missing``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime

from ...proto.errors import UsageError
from ...proto.records import CONFIRMED, STAGING, ArchiveId, Location
from ..history import CopyRecord
from . import queries, values
from .values import raw


def put_copy(database: sqlite3.Connection, number: int, copy: CopyRecord) -> None:
    """Enter a copy of an archive, in place of what was known of the same one."""
    database.execute(
        "INSERT OR REPLACE INTO locations (archive, place, name, version, generation, size_bytes, checksum,"
        " state, copied, verified, checked, locked_until)"
        " VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            raw(copy.place),
            raw(copy.name),
            raw(copy.version),
            copy.generation,
            copy.size_bytes,
            copy.checksum,
            copy.state,
            *(_iso(when) for when in (copy.copied, copy.verified, copy.checked, copy.locked_until)),
        ),
    )
    note_missing(database, number)


def _iso(when: datetime | None) -> str | None:
    return None if when is None else values.iso(when)


def stage_copy(
    database: sqlite3.Connection, number: int, name: str, size_bytes: int, generation: int
) -> None:
    """The archive lies in the staging area under this name, in place of what lay there of it before."""
    drop_staged(database, number)
    put_copy(
        database,
        number,
        CopyRecord(place=STAGING, name=name, generation=generation, size_bytes=size_bytes),
    )


def drop_staged(database: sqlite3.Connection, number: int) -> None:
    """The archive does not lie in the staging area any more."""
    database.execute("DELETE FROM locations WHERE archive = ? AND place = ?", (number, STAGING))
    note_missing(database, number)


def drop_confirmed(database: sqlite3.Connection, number: int) -> None:
    """No other program keeps the archive, in any generation."""
    database.execute("DELETE FROM locations WHERE archive = ? AND place = ?", (number, CONFIRMED))
    note_missing(database, number)


def drop_copy(database: sqlite3.Connection, number: int, location: Location) -> None:
    """Forget a copy."""
    database.execute(
        "DELETE FROM locations WHERE archive = ? AND place = CAST(? AS TEXT) AND name = CAST(? AS TEXT)"
        " AND version = CAST(? AS TEXT)",
        (number, raw(location.place), raw(location.name), raw(location.version)),
    )
    note_missing(database, number)


def note_arrival(database: sqlite3.Connection, archive: ArchiveId, copy: CopyRecord) -> None:
    """A copy is there: of an archive that is known, in place of what was lost under its name, of which a
    version beside it is needed by nobody any more; else it is needed by nobody itself."""
    row = database.execute("SELECT number FROM archives WHERE archive = ?", (archive,)).fetchone()
    if row is None:
        discard(database, Location(copy.place, copy.name, copy.version, copy.size_bytes), copy.locked_until)
        return
    lost = (row["number"], raw(copy.place), raw(copy.name))
    database.execute(
        "INSERT OR IGNORE INTO discarded (place, name, version, size_bytes, locked_until)"
        " SELECT place, name, version, size_bytes, locked_until FROM locations"
        " WHERE archive = ? AND place = CAST(? AS TEXT) AND name = CAST(? AS TEXT) AND state = 'lost'",
        lost,
    )
    database.execute(
        "DELETE FROM locations"
        " WHERE archive = ? AND place = CAST(? AS TEXT) AND name = CAST(? AS TEXT) AND state = 'lost'",
        lost,
    )
    database.execute(
        "DELETE FROM discarded WHERE place = CAST(? AS TEXT) AND name = CAST(? AS TEXT)"
        " AND version = CAST(? AS TEXT)",
        (raw(copy.place), raw(copy.name), raw(copy.version)),
    )
    put_copy(database, row["number"], copy)


def discard(database: sqlite3.Connection, location: Location, locked_until: datetime | None) -> None:
    """Nobody needs a copy: its place has yet to remove it. What was known of the same one is replaced."""
    database.execute(
        "INSERT OR REPLACE INTO discarded (place, name, version, size_bytes, locked_until)"
        " VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)",
        (*map(raw, location[:3]), location.size_bytes, _iso(locked_until)),
    )


def take_discarded(database: sqlite3.Connection, place: str) -> list[Location]:
    """The copies in a place that nobody needs; they are forgotten."""
    rows = database.execute("SELECT place, name, version FROM discarded WHERE place = ?", (place,)).fetchall()
    database.execute("DELETE FROM discarded WHERE place = ?", (place,))
    return [Location(*row) for row in rows]


def discard_copies(database: sqlite3.Connection, number: int) -> None:
    """An archive goes, as nobody needs it: its copies in destinations have yet to be removed there."""
    database.execute(
        "INSERT OR IGNORE INTO discarded (place, name, version, size_bytes, locked_until)"
        " SELECT place, name, version, size_bytes, locked_until FROM locations"
        " WHERE archive = ? AND place <> ?",
        (number, STAGING),
    )
    database.execute("DELETE FROM locations WHERE archive = ?", (number,))


def note_lock(database: sqlite3.Connection, archive: ArchiveId, location: Location, until: datetime) -> None:
    """A copy is locked until then, whether it is needed still or not."""
    database.execute(
        "UPDATE locations SET locked_until = ?"
        " WHERE archive = (SELECT number FROM archives WHERE archive = ?)"
        " AND place = CAST(? AS TEXT) AND name = CAST(? AS TEXT) AND version = CAST(? AS TEXT)",
        (_iso(until), archive, *map(raw, location[:3])),
    )
    note_discarded_lock(database, location, until)


def note_discarded_lock(database: sqlite3.Connection, location: Location, until: datetime) -> None:
    """A copy that nobody needs is locked until then."""
    database.execute(
        "UPDATE discarded SET locked_until = ?"
        " WHERE place = CAST(? AS TEXT) AND name = CAST(? AS TEXT) AND version = CAST(? AS TEXT)",
        (_iso(until), *map(raw, location[:3])),
    )


def note_missing(database: sqlite3.Connection, number: int) -> None:
    """Whether an archive is missing follows from its copies."""
    database.execute(
        "UPDATE archives SET missing = NOT EXISTS ("
        " SELECT 1 FROM locations WHERE archive = ?1 AND state <> 'lost') WHERE number = ?1",
        (number,),
    )


def refuse_last(copies: Iterable[CopyRecord], archive: ArchiveId) -> None:
    """Raise UsageError unless another copy counts beside that in the staging area."""
    if not any(copy.place != STAGING and copy.state == "kept" for copy in copies):
        raise UsageError(
            f"archive {archive.hex()} has no other copy: it must stay in the staging area",
            archive=archive.hex(),
        )


def copies_of(database: sqlite3.Connection, number: int) -> tuple[CopyRecord, ...]:
    """The copies of an archive, that in the staging area first, then those that count. Raises
    DamagedError."""
    return tuple(map(values.copy_record, database.execute(queries.COPIES, (number,))))


def locations(database: sqlite3.Connection) -> Iterator[tuple[ArchiveId, Location]]:
    """Every copy that is not lost, archive by archive, as ``copies_of`` orders them. Raises DamagedError."""
    for row in database.execute(queries.LOCATIONS):
        yield ArchiveId(row["archive"]), values.location(row)
