"""What a unit starts from: its mailboxes as they were stored last, and the archives that takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from ...proto.records import STAGING, ArchiveId, Location, Parents
from ...worker.archives.holdings import EXCERPTS
from ..history import CopyRecord
from . import queries
from .database import temporary
from .locations import copies_of
from .units import losses_of
from .values import raw

Mailboxes = dict[str, ArchiveId]


def parents(
    database: sqlite3.Connection, scope: int | None, partition: str, users: Collection[str]
) -> Parents:
    """See ``Catalog.parents``. ``scope`` is the own group; None: nothing is known of it yet."""
    own: Mailboxes = {}
    if scope is not None:
        with _wanted(database, users):
            own = dict(database.execute(queries.OWN_PARENTS, (scope,)))
    with _wanted(database, set(users).difference(own)):
        # Of one user the row that comes last counts.
        others: Mailboxes = dict(database.execute(queries.OTHER_PARENTS, (raw(partition),)))
    mailboxes = {**own, **others}
    found = {
        number: ArchiveId(archive)
        for parent in set(mailboxes.values())
        for number, archive in database.execute(queries.AT_HAND, (parent,))
    }
    return Parents(
        mailboxes=mailboxes,
        elsewhere=frozenset(others),
        locations={archive: _near(copies_of(database, number)) for number, archive in found.items()},
        lost={archive: lost for number, archive in found.items() if (lost := losses_of(database, number))},
    )


def _near(copies: Sequence[CopyRecord]) -> tuple[Location, ...]:
    """Where the metadata of an archive is read from by a backup: the staging area alone, which has an excerpt
    of each that has left it, or that leaves it while it is read."""
    staged = [Location(STAGING, copy.name) for copy in copies if copy.place == STAGING]
    return (*staged, *dict.fromkeys(Location(EXCERPTS, record.name) for record in copies))


@contextmanager
def _wanted(database: sqlite3.Connection, users: Iterable[str]) -> Iterator[None]:
    """A table of users to join with, while the context lasts."""
    with temporary(database, "wanted", "user TEXT"):
        database.executemany(
            "INSERT INTO wanted VALUES (CAST(? AS TEXT)) ON CONFLICT DO NOTHING",
            ((raw(user),) for user in users),
        )
        yield
