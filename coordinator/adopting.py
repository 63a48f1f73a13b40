"""Takes over what lies at a destination: a disk that was carried here, copies that a lost catalog forgot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

from ..proto.archive.reader import open_sealed
from ..proto.errors import AccessError, DamagedError, EncryptedError, NotFoundError, UnsupportedError
from ..proto.records import ArchiveId, Skipped
from ..proto.structs import Record, replace
from ..worker.archives.names import parse_name
from ..worker.archives.opened import beginning_of
from ..worker.archives.ports import Copy, Place
from ..worker.destinations.registry import open_destination
from ..worker.destinations.settings import Destination
from .catalog import Catalog
from .destinations import take_into_use
from .history import seen_at
from .sweeping.locks import sweeping


class Adopted(Record, kw_only=True):
    """How many copies were ``entered`` into the catalog and how many were ``known``; which archives it does
    not know, by name; what is called an archive and is no whole one; how many other files there are."""

    entered: int
    known: int
    unknown: tuple[str, ...]
    damaged: tuple[Skipped, ...]
    others: int


def adopt(settings: Destination, staging: Path, now: datetime) -> Adopted:
    """Make a destination that of this staging area, whoever's it was, and enter the copies that are there of
    archives that the catalog knows. They count as those that a sweep has made: after a later look.

    Raises LockedError while a sweep to it goes on, PlaceError and its kin, StagingError.
    """
    found: list[tuple[ArchiveId, Copy]] = []
    damaged: list[Skipped] = []
    others = 0
    with sweeping(staging, settings.name):
        ready = take_into_use(settings, staging, take_over=True)
        with closing(open_destination(ready)) as place:
            for copy in _in_order(place):
                try:
                    parse_name(copy.name)
                except AccessError:
                    others += 1
                    continue
                try:
                    found.append((_archive_in(place, copy), copy))
                except (DamagedError, UnsupportedError) as error:
                    damaged.append(Skipped(copy.name, error.code, error.message))
        entered, known, unknown = _enter(staging, settings.name, found, damaged, now)
    return Adopted(
        entered=entered, known=known, unknown=tuple(unknown), damaged=tuple(damaged), others=others
    )


def _in_order(place: Place) -> Iterator[Copy]:
    """All that is there, as it is read fastest."""
    copies = {(copy.name, copy.version): copy for copy in place.list()}
    return (copies[address] for address in place.reading_order(sorted(copies)))


def _archive_in(place: Place, copy: Copy) -> ArchiveId:
    """Which archive a copy is; it has its end and its directory."""
    with closing(place.open(copy.name, copy.version)) as file:
        try:
            return open_sealed(file).header.archive
        except EncryptedError:
            return beginning_of(file).archive  # its end is there


def _enter(
    staging: Path,
    place: str,
    found: list[tuple[ArchiveId, Copy]],
    damaged: list[Skipped],
    now: datetime,
) -> tuple[int, int, list[str]]:
    entered = known = 0
    unknown: list[str] = []
    with Catalog.open(staging, write=True) as catalog:
        for archive, copy in found:
            generation = parse_name(copy.name).generation
            try:
                copies = catalog.archive(archive).copies
            except NotFoundError:
                unknown.append(copy.name)
                continue
            sizes = {
                copy_record.size_bytes
                for copy_record in copies
                if copy_record.generation == generation and copy_record.size_bytes
            }
            if sizes and copy.size_bytes not in sizes:
                damaged.append(Skipped(copy.name, "length", "it has another size than the archive"))
            elif any(
                (one.place, one.name, one.version) == (place, copy.name, copy.version) and one.state != "lost"
                for one in copies
            ):
                known += 1
            else:
                record = replace(seen_at(place, copy, now), state="copied", copied=now)
                catalog.put_copy(archive, record)
                entered += 1
    return entered, known, unknown
