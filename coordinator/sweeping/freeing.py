"""Staging space is freed: an archive leaves the staging area when its copies count; an excerpt stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from ...proto.directories import sync_directory
from ...proto.errors import DamagedError, LockedError, NotFoundError, StagingError
from ...proto.records import STAGING, Skipped
from ...worker.archives.excerpts import write_excerpt
from ...worker.archives.first_frames import is_there
from ...worker.archives.names import excerpt_name
from ...worker.archives.places import open_local
from ...worker.tasks.recalling import digest_of
from ..catalog import Catalog
from ..history import ArchiveRecord, CopyRecord
from ..holds import Holds
from ..readers import exclusive
from ..structure_keys import area_at
from .policy import known_checksum, name_in_places, staged_copy

_PATIENCE_SECONDS = 10.0


def held_archive(catalog: Catalog, holds: Holds, record: ArchiveRecord) -> bool:
    """Whether something of an archive is held: its run, its group, or a mailbox that it tells of."""
    return bool(holds.all) and (
        holds.holds_run(record.run)
        or any(
            holds.holds_user(record.partition, record.group, user)
            for user in catalog.users_of(record.archive)
        )
    )


def free(
    staging: Path,
    records: Sequence[ArchiveRecord],
    on_wait: Callable[[str], object],
) -> tuple[list[ArchiveRecord], list[str]]:
    """Delete these archives in the staging area; returns those that were, and the names of those for which
    somebody who reads archives could not be waited for.

    In this order, so that a crash costs nothing: the excerpt of it is kept, the catalog does not look for
    it there any more, the file goes. One that goes on lying there is found by ``restage``. Raises
    DamagedError if one is not whole in its directory.
    """
    for record in records:
        _keep_excerpt(staging, record)
    freed: list[ArchiveRecord] = []
    try:
        with exclusive(staging, _PATIENCE_SECONDS, on_wait), Catalog.open(staging, write=True) as catalog:
            freed.extend(
                archive_record for archive_record in records if _free(staging, catalog, archive_record)
            )
    except LockedError:
        return [], [one.name for one in records]
    return freed, []


def _keep_excerpt(staging: Path, record: ArchiveRecord) -> None:
    copy = staged_copy(record)
    if copy is not None:
        with closing(open_local(str(staging / copy.name))) as file:
            write_excerpt(file, staging / excerpt_name(name_in_places(record)), area_at(staging).keys)


def _free(staging: Path, catalog: Catalog, record: ArchiveRecord) -> bool:
    copy = staged_copy(catalog.archive(record.archive))
    if copy is None or copy != staged_copy(record):
        return False  # written anew meanwhile
    catalog.free_staged(record.archive)
    path = staging / copy.name
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StagingError(f"{path}: can't be deleted: {error.strerror}", path=str(path)) from error
    with suppress(OSError):  # a file that is there again after a crash is found by the next sweep
        sync_directory(path.parent)
    return True


def restage(staging: Path, records: Sequence[ArchiveRecord], now: datetime) -> list[Skipped]:
    """Enter archives that lie in the staging area although they were freed there: a sweep was killed before
    it deleted them, or another program has brought them back. Returns those that are not what they were: they
    are left alone, as is what is not all there yet."""
    altered: list[Skipped] = []
    for record in records:
        if (
            staged_copy(record) is not None
            or not record.copies
            or not is_there(staging / record.name, record.archive)
        ):
            continue
        try:
            with closing(open_local(str(staging / record.name))) as file:
                if file.size < record.size_bytes:
                    continue
                checksum = known_checksum(record)
                if checksum and digest_of(file) != checksum:
                    raise DamagedError("it was freed, and what lies under its name is not what it was")
        except DamagedError as error:
            altered.append(Skipped(record.name, error.code, error.message))
            continue
        copy = CopyRecord(
            place=STAGING,
            name=record.name,
            generation=record.generation,
            size_bytes=record.size_bytes,
            checksum=checksum,
            copied=now,
        )
        with Catalog.open(staging, write=True) as catalog, suppress(NotFoundError):  # purged meanwhile
            catalog.put_copy(record.archive, copy)
    return altered
