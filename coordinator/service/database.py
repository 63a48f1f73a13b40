"""The file of the service's records: opened, made if there is none, its tables brought up to date, for one
thread at a time.

Several processes write (the coordinator, each operation, commands that put one in), each in short
transactions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ...proto.directories import make_private
from ...proto.errors import UnsupportedError
from ..catalog.database import Connection, connect_private, transaction, translated
from . import schema


def place(staging: Path) -> Path:
    """Where it lies in a staging area."""
    return staging / ".mailhaul" / "service.sqlite"


def opened(staging: Path) -> Connection:
    """A connection without any transaction of its own making; the tables are made if they are not there.

    Raises StagingError, DamagedError, and UnsupportedError for a file of another version.
    """
    path = place(staging)
    with translated(path):
        make_private(path.parent)
        database = connect_private(path)
        try:
            database.execute("PRAGMA synchronous = FULL")
            if _version(database) == 0:
                database.execute("PRAGMA journal_mode = WAL")
                with transaction(database):
                    if _version(database) == 0:  # nobody else has made them meanwhile
                        for statement in schema.TABLES:
                            database.execute(statement)
            _upgrade(database)
            if (version := _version(database)) != schema.VERSION:
                raise UnsupportedError(
                    f"{path}: written by another version of mailhaul (schema {version})", path=str(path)
                )
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def reading(staging: Path) -> Iterator[Connection]:
    """A connection as long as the context lasts. Raises as ``opened``."""
    with translated(place(staging)), closing(opened(staging)) as database:
        yield database


@contextmanager
def writing(staging: Path) -> Iterator[Connection]:
    """The same in a transaction: all or nothing of what is written, durable when the context is left."""
    with reading(staging) as database, transaction(database):
        yield database


def _upgrade(database: Connection) -> None:
    """Bring the tables of an earlier version up to date."""
    if _version(database) in schema.UPGRADES:
        with transaction(database):
            # Another program may have done it meanwhile.
            while (version := _version(database)) in schema.UPGRADES:
                for statement in schema.UPGRADES[version]:
                    database.execute(statement)


def _version(database: Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)
