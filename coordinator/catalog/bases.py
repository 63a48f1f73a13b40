"""What a rebuild of the catalog starts from: the newest sound catalog that can be had, be it a snapshot or an
old copy of the catalog that came back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from ...proto.directories import make_private
from ...proto.errors import BackupError, DamagedError, EncryptedError, NotFoundError, UnsupportedError
from ...proto.keys.records import Keyring
from ...proto.records import STAGING, ArchiveId, RunId
from ...proto.structs import Record
from ..history import CopyRecord, Discarded
from .database import check, connect, connect_private, open_reader, place, translated, upgrade
from .reading import CatalogReader
from .snapshots import snapshots, unpack

_STAGED = """
    SELECT l.name, a.archive, l.size_bytes FROM locations l JOIN archives a ON a.number = l.archive
    WHERE l.place = ? AND a.unit IS NOT NULL"""


class Base(Record, kw_only=True):
    """A catalog in a file of its own (``path``), which comes from ``origin``. ``names`` are those of all its
    archives, ``staged`` those that it tells to lie in the staging area, by name, with their sizes; ``ended``
    the runs that it knows the end of, and how often each had been resumed; ``scopes`` its groups."""

    path: Path
    origin: str
    names: frozenset[str]
    staged: Mapping[str, tuple[ArchiveId, int]]
    ended: frozenset[tuple[RunId, int]]
    scopes: tuple[tuple[str, str], ...]


def newest_base(staging: Path, keys: Keyring) -> Base | None:
    """The sound catalog that knows of the latest run, copied, as far as these keys open snapshots; None if
    there is none. With a structure key a sealed one comes before all in clear: these may be anybody's. Raises
    StagingError."""
    path = place(staging).with_name("catalog.sqlite.base")
    own = _newest_run(staging)
    with translated(path):
        make_private(path.parent)
        there = [one for one in snapshots(staging) if own is None or one.run > own]
        for snapshot in sorted(there, key=lambda one: not (one.sealed and keys.structures)):
            with suppress(DamagedError, UnsupportedError, NotFoundError, EncryptedError):
                unpack(staging, snapshot, path, keys)
                return _base(path, str(snapshot))
        if own is None:
            path.unlink(missing_ok=True)
            return None
        path.unlink(missing_ok=True)
        with closing(open_reader(place(staging))) as catalog, closing(connect_private(path)) as copy:
            copy.execute("PRAGMA synchronous = OFF")
            catalog.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    return _base(path, "the catalog as it was")


def copies_known_to(base: Base) -> tuple[list[tuple[ArchiveId, CopyRecord]], list[Discarded]]:
    """Where a catalog tells that archives lie outside of the staging area, and what there nobody needs."""
    with translated(base.path), closing(connect(base.path)) as database:
        known = CatalogReader(database, base.path)
        copies = [(archive.archive, copy) for archive in known.archives() for copy in archive.copies]
        return [pair for pair in copies if pair[1].place != STAGING], known.discarded()


def _newest_run(staging: Path) -> RunId | None:
    """The last run that the catalog knows; None if there is no sound one."""
    path = place(staging)
    try:
        with translated(path), closing(open_reader(path)) as database:
            check(database)
            return CatalogReader(database, path).newest_run()
    except BackupError:
        return None


def _base(path: Path, origin: str) -> Base:
    """Raises DamagedError, UnsupportedError or NotFoundError if this is no catalog that can be used."""
    with translated(path):
        open_reader(path).close()
    with translated(path), closing(connect(path)) as database:
        check(database)
        upgrade(database)
        known = CatalogReader(database, path)
        return Base(
            path=path,
            origin=origin,
            names=frozenset(name for name, _ in known.names().values()),
            staged={
                row["name"]: (ArchiveId(row["archive"]), row["size_bytes"])
                for row in database.execute(_STAGED, (STAGING,))
            },
            ended=frozenset(known.ended_runs()),
            scopes=tuple(known.scopes()),
        )
