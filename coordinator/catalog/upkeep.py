"""What purges and repairs change in the catalog: each function is one step of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from ...proto.errors import UsageError
from ...proto.records import ArchiveId, Losses, RunId, Stretch
from ..history import Needed
from . import queries
from .database import check, temporary
from .locations import discard_copies, stage_copy
from .units import archive_number, forget_content, insert_holes, insert_losses, insert_references
from .values import raw, run_number


def moments_of(database: sqlite3.Connection, scope: int) -> list[int]:
    """The runs that a scope can be restored from, oldest first."""
    return [run_number(row["run"]) for row in database.execute(queries.MOMENTS, (scope,))]


def forget(
    database: sqlite3.Connection, scope: int, kept: Collection[RunId], held: Callable[[str], bool]
) -> int:
    """Drop the moments of a scope that are not kept, and the versions that hold at none of the others.

    The newest moment is always kept: it is how things are. Returns how many versions were dropped.
    """
    moments = moments_of(database, scope)
    stay = {*moments[-1:], *(_moment_at(moments, run_number(run)) for run in kept)}
    insert_forgotten(database, scope, (run for run in moments if run not in stay))
    return drop_hidden(database, scope, held)


def insert_forgotten(database: sqlite3.Connection, scope: int, runs: Iterable[int]) -> None:
    """A scope can't be restored from these runs any more."""
    database.executemany(
        "INSERT INTO forgotten (scope, run) VALUES (?, ?) ON CONFLICT DO NOTHING",
        ((scope, run) for run in runs),
    )


def _moment_at(moments: Sequence[int], run: int) -> int | None:
    """The moment that tells how things were at a run."""
    return max((moment for moment in moments if moment <= run), default=None)


def drop_hidden(database: sqlite3.Connection, scope: int, held: Callable[[str], bool]) -> int:
    """Drop the versions of a scope that hold at none of its moments. The newest of a mailbox stays, and all
    of one that is held; a departure goes when nothing is left that it hides. Returns how many went."""
    with _runs_kept(database, moments_of(database, scope)), _mailboxes_held(database, scope, held):
        hidden = database.execute(queries.HIDDEN, (scope,)).fetchall()
    _drop(database, hidden)
    return len(hidden) + drop_idle(database, scope)


def drop_idle(database: sqlite3.Connection, scope: int) -> int:
    """Drop the departures of a scope that hide nothing, and mailboxes of which nothing is left. Returns how
    many departures went."""
    idle = database.execute(queries.IDLE_DEPARTURES, (scope,)).fetchall()
    _drop(database, idle)
    database.execute(
        "DELETE FROM mailboxes WHERE scope = ?"
        " AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.mailbox = mailboxes.number)",
        (scope,),
    )
    return len(idle)


def _drop(database: sqlite3.Connection, versions: Iterable[Sequence[object]]) -> None:
    database.executemany("DELETE FROM versions WHERE mailbox = ? AND run = ?", map(tuple, versions))


@contextmanager
def _runs_kept(database: sqlite3.Connection, runs: Iterable[int]) -> Iterator[None]:
    with temporary(database, "kept", "run INTEGER"):
        database.executemany("INSERT INTO kept VALUES (?)", ((run,) for run in runs))
        yield


@contextmanager
def _mailboxes_held(database: sqlite3.Connection, scope: int, held: Callable[[str], bool]) -> Iterator[None]:
    with temporary(database, "held", "mailbox INTEGER"):
        known = database.execute("SELECT number, user FROM mailboxes WHERE scope = ?", (scope,)).fetchall()
        numbers = ((row["number"],) for row in known if held(row["user"]))
        database.executemany("INSERT INTO held VALUES (?)", numbers)
        yield


def needed(database: sqlite3.Connection) -> Needed:
    """See ``Catalog.needed``."""
    check(database)
    names = dict(database.execute("SELECT number, user FROM mailboxes"))
    # Night after night an archive has the same users: one set of them for all is enough.
    same: dict[frozenset[str], frozenset[str]] = {}
    found: dict[ArchiveId, frozenset[str]] = {}
    for archive, unit in database.execute(queries.NEEDED).fetchall():
        users = frozenset(names[mailbox] for (mailbox,) in database.execute(queries.STORED, (unit,)))
        found[ArchiveId(archive)] = same.setdefault(users, users)
    return Needed(users=found, references={archive: references(database, archive) for archive in found})


def references(database: sqlite3.Connection, archive: ArchiveId) -> tuple[ArchiveId, ...]:
    """The other archives that the metadata of one names."""
    return tuple(ArchiveId(other) for (other,) in database.execute(queries.REFERENCES, (archive,)))


def replace_archive(
    database: sqlite3.Connection,
    archive: ArchiveId,
    *,
    name: str,
    size_bytes: int,
    generation: int,
    holes: Iterable[Stretch],
    references: Iterable[ArchiveId],
    lost: Losses,
) -> None:
    """See ``Catalog.replace_archive``."""
    number = archive_number(database, archive)
    database.execute(
        "UPDATE archives SET name = CAST(? AS TEXT), size_bytes = ?, generation = ? WHERE number = ?",
        (raw(name), size_bytes, generation, number),
    )
    stage_copy(database, number, name, size_bytes, generation)
    forget_content(database, number)
    insert_holes(database, number, holes)
    insert_losses(database, number, lost)
    insert_references(database, number, references)


def remove_archives(database: sqlite3.Connection, archives: Iterable[ArchiveId]) -> None:
    """See ``Catalog.remove_archives``."""
    for archive in archives:
        row = database.execute("SELECT number, unit FROM archives WHERE archive = ?", (archive,)).fetchone()
        if row is None:
            continue
        if database.execute("SELECT 1 FROM versions WHERE unit = ?", (row["unit"],)).fetchone() is not None:
            raise UsageError(
                f"archive {archive.hex()} can't be removed: versions of mailboxes need its metadata",
                archive=archive.hex(),
            )
        forget_content(database, row["number"])
        discard_copies(database, row["number"])
        database.execute("INSERT OR IGNORE INTO purged (archive) VALUES (?)", (archive,))
        database.execute("DELETE FROM refs WHERE other = ?", (row["number"],))
        database.execute("DELETE FROM archives WHERE number = ?", (row["number"],))


def remove_strays(database: sqlite3.Connection) -> None:
    """Drop what is known of archives that were never at hand and that nothing refers to any more."""
    database.execute(
        "DELETE FROM archives WHERE unit IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM refs WHERE refs.other = archives.number)"
    )
