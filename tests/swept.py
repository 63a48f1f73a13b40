"""Archives that have left the staging area, step by step as a sweep does it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.history import CopyRecord
from mailhaul.proto.records import ArchiveId
from mailhaul.worker.archives.excerpts import write_excerpt
from mailhaul.worker.archives.names import excerpt_name
from mailhaul.worker.archives.places import open_local
from mailhaul.worker.destinations.directory import found_directory
from mailhaul.worker.destinations.registry import open_destination
from mailhaul.worker.destinations.settings import Destination, DirectoryDestination

AREA = "0" * 32


def vault(path: Path, name: str = "vault") -> DirectoryDestination:
    """A directory that is a destination."""
    found_directory(str(path), AREA)
    return DirectoryDestination(name=name, path=str(path), area=AREA)


def copy_out(staging: Path, *destinations: Destination) -> None:
    """Put every archive that lies in the staging area into destinations that do not have it, where it
    counts."""
    with Catalog.open(staging, write=True) as catalog:
        for record in list(catalog.archives()):
            if not record.is_staged:
                continue
            there = {copy.place for copy in record.copies}
            for destination in destinations:
                if destination.name in there:
                    continue
                with closing(open_destination(destination)) as place:
                    with closing(open_local(str(staging / record.name))) as file:
                        copy = place.put(record.name, file)
                    place.commit()
                catalog.put_copy(
                    record.archive,
                    CopyRecord(
                        place=destination.name,
                        name=copy.name,
                        version=copy.version,
                        generation=record.generation,
                        size_bytes=copy.size_bytes,
                        checksum=copy.checksum,
                        copied=datetime.now(UTC),
                    ),
                )


def free(staging: Path) -> list[ArchiveId]:
    """Take every archive out of the staging area, but for its excerpt."""
    freed = []
    with Catalog.open(staging, write=True) as catalog:
        for record in list(catalog.archives()):
            if record.is_staged:
                file = staging / record.name
                with closing(open_local(str(file))) as archive:
                    write_excerpt(archive, staging / excerpt_name(record.name))
                catalog.free_staged(record.archive)
                file.unlink()
                freed.append(record.archive)
    return freed
