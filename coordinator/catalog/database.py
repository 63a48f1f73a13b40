"""The catalog's file: opened for writing or reading, whatever its state, and SQLite's errors in our words."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ...proto.directories import make_private
from ...proto.errors import BackupError, DamagedError, NotFoundError, StagingError, UnsupportedError
from . import schema

Connection = sqlite3.Connection
Row = sqlite3.Row

ADVICE = "run `mailhaul catalog rebuild`"

_BUSY_SECONDS = 30

# Primary result codes of SQLite that say nothing about the content of the file.
_OUTSIDE = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    )
)


def place(staging: Path) -> Path:
    """Where the catalog of a staging area lies."""
    return staging / ".mailhaul" / "catalog.sqlite"


def companion(path: Path, ending: str) -> Path:
    """A file that SQLite keeps beside a database: its log (-wal), what its users share (-shm)."""
    return path.with_name(path.name + ending)


def connect(path: Path, query: str = "") -> sqlite3.Connection:
    """A connection without any transaction of its own making; ``query`` as in SQLite's file URIs."""
    database = sqlite3.connect(
        path.absolute().as_uri() + query, uri=True, isolation_level=None, timeout=_BUSY_SECONDS
    )
    _set_up(database)
    return database


def copied(source: sqlite3.Connection) -> sqlite3.Connection:
    """A database in memory with the content of another, with the tables of this version."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    _set_up(memory)
    source.backup(memory)
    upgrade(memory)
    return memory


def _set_up(database: sqlite3.Connection) -> None:
    database.row_factory = sqlite3.Row
    database.text_factory = lambda value: value.decode(errors="surrogateescape")
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("PRAGMA temp_store = MEMORY")  # a reader may be where nothing can be written


def open_writer(path: Path) -> sqlite3.Connection:
    """Open to read and write; a new database gets the tables."""
    make_private(path.parent)
    database = connect_private(path)
    try:
        if _is_empty(database, path):
            database.execute("PRAGMA journal_mode = WAL")
            with transaction(database):
                create(database)
        database.execute("PRAGMA synchronous = FULL")
        upgrade(database)
    except BaseException:
        database.close()
        raise
    return database


def connect_private(path: Path) -> sqlite3.Connection:
    """Open a database, made if there is none: nobody else may read it, nor what SQLite keeps beside it."""
    path.touch(mode=0o600)
    return connect(path)


def open_reader(path: Path) -> sqlite3.Connection:
    """Open to read only, also in a directory where nothing can be written. One of an earlier version looks
    like one of this version, and stays as it is until somebody opens it to write."""
    if not path.exists():
        raise NotFoundError(f"there is no catalog: {path}; if there are archives, {ADVICE}", path=str(path))
    database = connect(path, "?mode=ro")
    try:
        if not _is_readable(database):
            database.close()
            database = _open_unwritable(path)
        if _is_empty(database, path):
            raise NotFoundError(
                f"the catalog is empty: {path}; if there are archives, {ADVICE}", path=str(path)
            )
        for statement in schema.VIEWS.get(_version(database), ()):
            database.execute(statement)
    except BaseException:
        database.close()
        raise
    return database


def _is_readable(database: sqlite3.Connection) -> bool:
    try:
        database.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            return False
        raise
    return True


def _open_unwritable(path: Path) -> sqlite3.Connection:
    """Read where SQLite can't make the files that it shares with a writer: there is no writer."""
    log = companion(path, "-wal")
    if not log.exists() or log.stat().st_size == 0:
        return connect(path, "?mode=ro&immutable=1")
    # A writer died and left commits in its log. They count, so the log is applied to a copy.
    with tempfile.TemporaryDirectory(prefix="mailhaul-") as directory:
        copy = Path(directory, path.name)
        shutil.copyfile(path, copy)
        shutil.copyfile(log, companion(copy, "-wal"))
        with closing(connect(copy)) as source:
            return copied(source)


def _is_empty(database: sqlite3.Connection, path: Path) -> bool:
    """Whether it has no tables yet. Raises UnsupportedError or DamagedError if they are not ours."""
    version = _version(database)
    if version > schema.VERSION:
        raise UnsupportedError(
            f"{path}: the catalog was written by a newer version of mailhaul (schema {version})",
            path=str(path),
        )
    if version == schema.VERSION or version in schema.UPGRADES:
        return False
    if version > 0:
        raise UnsupportedError(
            f"{path}: the catalog was written by an earlier version of mailhaul (schema {version}); {ADVICE}",
            path=str(path),
        )
    if database.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
        raise DamagedError(f"{path} is no catalog of mailhaul; {ADVICE}", path=str(path))
    return True


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def upgrade(database: sqlite3.Connection) -> None:
    """Bring the tables of an earlier version up to date, if they are not."""
    if _version(database) not in schema.UPGRADES:
        return
    with transaction(database):
        # Another program may have done it meanwhile.
        while (version := _version(database)) in schema.UPGRADES:
            for statement in schema.UPGRADES[version]:
                database.execute(statement)


def create(database: sqlite3.Connection) -> None:
    """Make the tables, within the caller's transaction."""
    for statement in schema.TABLES:
        database.execute(statement)


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing of what is written in the context."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def check(database: sqlite3.Connection) -> None:
    """Look at every row, index and reference. Raises DamagedError unless all of them fit together."""
    for pragma in ("integrity_check(1)", "foreign_key_check"):
        found = database.execute(f"PRAGMA {pragma}").fetchone()
        if found is not None and found[0] != "ok":
            raise DamagedError(f"the catalog is damaged ({' '.join(map(str, found))}); {ADVICE}")


@contextmanager
def temporary(database: sqlite3.Connection, table: str, column: str) -> Iterator[None]:
    """A table of one column, of this connection only, while the context lasts."""
    database.execute(f"CREATE TEMP TABLE {table} ({column} PRIMARY KEY) WITHOUT ROWID")
    try:
        yield
    finally:
        database.execute(f"DROP TABLE {table}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into the product's errors."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise BackupError(f"{path}: contradicts what is recorded: {error}", path=str(path)) from error
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise _meaning(error, path) from error
    except UnicodeDecodeError as error:  # in SQLite's own messages, which quote the damage
        raise DamagedError(f"{path}: the catalog is damaged; {ADVICE}", path=str(path)) from error
    except OSError as error:
        raise StagingError(f"{path}: {error.strerror or error}", path=str(path)) from error


def _meaning(error: sqlite3.DatabaseError, path: Path) -> BackupError:
    code = error.sqlite_errorcode
    if code & 0xFF in _OUTSIDE and code != sqlite3.SQLITE_IOERR_SHORT_READ:
        return StagingError(f"{path}: {error}", path=str(path), sqlite=error.sqlite_errorname)
    return DamagedError(
        f"{path}: the catalog is damaged ({error}); {ADVICE}", path=str(path), sqlite=error.sqlite_errorname
    )
