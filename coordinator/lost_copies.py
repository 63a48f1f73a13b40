"""Copies that are gone for good: they count no more, and the next sweep makes others."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..proto.records import Location
from ..proto.structs import Record
from ..worker.archives.ports import Copy
from .catalog import Catalog
from .keepsakes import keep_catalog_now
from .recalling import lose_copy


class LostCopies(Record, kw_only=True):
    """How many copies of archives were ``noted`` as lost, and the names of the archives of which no other is
    left (``missing``)."""

    noted: int = 0
    missing: tuple[str, ...] = ()


def note_lost(staging: Path, place: str, gone: Collection[Copy]) -> LostCopies:
    """Record that copies in a place are gone, also beside the archives. Copies that the catalog does not know
    are passed over. Raises StagingError."""
    addresses = {(copy.name, copy.version) for copy in gone}
    noted = 0
    missing = []
    with Catalog.open(staging, write=True) as catalog:
        for record in list(catalog.archives()):
            for copy in record.copies:
                if copy.place == place and copy.state != "lost" and (copy.name, copy.version) in addresses:
                    lose_copy(catalog, record.archive, Location(place, copy.name, copy.version))
                    noted += 1
                    if catalog.archive(record.archive).missing:
                        missing.append(copy.name)
    if noted:
        keep_catalog_now(staging)
    return LostCopies(noted=noted, missing=tuple(missing))
