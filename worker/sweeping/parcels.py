"""What a sweep hands to a place, and what the place made of it: light records that cross processes."""

from __future__ import annotations

from datetime import datetime

from ...proto.errors import BackupError
from ...proto.records import ArchiveId, Location
from ...proto.structs import Record
from ..archives.ports import Copy


class Parcel(Record, kw_only=True):
    """A file that is to have a copy called ``name``; its bytes are at ``source``.

    Of an ``archive`` every frame is checked as it is copied, unless ``damaged`` says that it is known not to
    be whole. A ``checksum`` (BLAKE3) is what another copy of it has: these bytes must be the same.
    What the place has in the versions ``instead_of`` was found to be damaged or missing.
    """

    name: str
    source: Location
    archive: ArchiveId | None = None
    checksum: bytes = b""
    damaged: bool = False
    instead_of: tuple[str, ...] = ()
    lock_until: datetime | None = None


class Delivery(Record, kw_only=True):
    """What became of parcels: ``put`` are durable at the place, each with the checksum of its bytes;
    ``failed`` are not there, and say why; of ``unread`` the bytes could not be had from their source.
    ``stopped`` is why the place was left alone from there on: the parcels of which nothing is said were not
    tried.
    """

    put: tuple[tuple[Parcel, Copy], ...] = ()
    failed: tuple[tuple[Parcel, BackupError], ...] = ()
    unread: tuple[tuple[Parcel, BackupError], ...] = ()
    stopped: BackupError | None = None


class Look(Record, kw_only=True):
    """What a place told of copies: those that are there, with what it knows of them, and those that are
    not. ``stopped`` is why it was not asked for the others."""

    found: tuple[tuple[Location, Copy], ...] = ()
    lost: tuple[Location, ...] = ()
    stopped: BackupError | None = None


class Locking(Record, kw_only=True):
    """What became of copies that were to be locked: until when they are, as the place tells it now, and why
    others could not be. ``stopped`` is why the rest was not tried."""

    locked: tuple[tuple[Location, datetime], ...] = ()
    failed: tuple[tuple[Location, BackupError], ...] = ()
    stopped: BackupError | None = None


class Removal(Record, kw_only=True):
    """What became of copies that nobody needs: ``removed`` are not there any more, ``locked`` are not to be
    removed before a time (None: the place does not tell), ``refused`` say why the place removes nothing at
    all for who asks. ``stopped`` is why the others were not tried."""

    removed: tuple[Location, ...] = ()
    locked: tuple[tuple[Location, datetime | None], ...] = ()
    refused: tuple[tuple[Location, BackupError], ...] = ()
    stopped: BackupError | None = None
