"""Files are put at a place, some at a time, and count when the place says that they are durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import replace

from ...proto.archive.files import RandomAccess
from ...proto.archive.frames import HEADER_BYTES, decode_any_header
from ...proto.archive.reader import open_sealed
from ...proto.errors import (
    AccessError,
    BackupError,
    DamagedError,
    ExistsError,
    NotYetError,
    PlaceError,
    PlaceFullError,
    PlaceUnavailableError,
    UnsupportedError,
)
from ...proto.records import ArchiveId, Location
from ..archives.ports import Copy, OnBytes, Place
from .checking import CheckedSource, digest
from .parcels import Delivery, Parcel

_MOST_REFUSALS = 3
"""A place that refuses so many files in a row is left alone."""

OpenSource = Callable[[Location], RandomAccess]


def deliver(place: Place, parcels: Iterable[Parcel], open_source: OpenSource, on_bytes: OnBytes) -> Delivery:
    """Put parcels at a place, in this order, and make them durable there.

    A damaged source costs its own parcel only. A place that is full, can't be reached or lets nobody in is
    left alone from there on; what it took before is made durable all the same.
    """
    put: list[tuple[Parcel, Copy]] = []
    failed: list[tuple[Parcel, BackupError]] = []
    stopped: BackupError | None = None
    refusals = 0
    for parcel in parcels:
        try:
            put.append((parcel, _put(place, parcel, open_source, on_bytes)))
            refusals = 0
        except (PlaceFullError, PlaceUnavailableError, AccessError) as error:
            stopped = error
        except ExistsError as error:
            failed.append((parcel, error))
        except PlaceError as error:
            failed.append((parcel, error))
            refusals += 1
            stopped = error if refusals == _MOST_REFUSALS else None
        except BackupError as error:
            failed.append((parcel, error))
        if stopped is not None:
            break
    try:
        if put:
            place.commit()
    except BackupError as error:
        # Each may be there or not: they are put again, which finds those that are.
        return Delivery(failed=tuple(failed), stopped=error)
    return Delivery(put=tuple(put), failed=tuple(failed), stopped=stopped)


def _put(place: Place, parcel: Parcel, open_source: OpenSource, on_bytes: OnBytes) -> Copy:
    first = not parcel.checksum and not parcel.damaged
    archive = parcel.archive if first else None
    with closing(open_source(parcel.source)) as file:
        instead_of: tuple[str, ...] = ()
        if parcel.instead_of:
            whole = CheckedSource(file, archive=archive, checksum=parcel.checksum)
            instead_of = _not_whole(place, parcel, whole.read_rest())
        while True:
            source = CheckedSource(file, archive=archive, checksum=parcel.checksum)
            try:
                copy = place.put(
                    parcel.name,
                    source,
                    lock_until=parcel.lock_until,
                    instead_of=instead_of,
                    on_bytes=on_bytes,
                )
                break
            except ExistsError:
                # What a catalog that was made again does not know: a copy that is not whole.
                broken = _broken_there(place, parcel)
                if broken is None or broken in instead_of:
                    raise
                instead_of = (broken,)
        checksum = source.read_rest()
    if copy.size_bytes != source.size or copy.checksum not in (b"", checksum):
        raise DamagedError(
            f"{source.name} changed while it was copied to {place.name}", reason="changed", place=place.name
        )
    return replace(copy, checksum=checksum)


def _not_whole(place: Place, parcel: Parcel, checksum: bytes) -> tuple[str, ...]:
    """The versions of those that were found to be damaged or missing that have not this checksum now either:
    the place would hold on to such a one, or take it for the copy that is to come."""
    return tuple(one for one in parcel.instead_of if not _is(place, parcel.name, one, checksum))


def _is(place: Place, name: str, version: str, checksum: bytes) -> bool:
    """Whether a copy, read anew, has this checksum."""
    try:
        with closing(place.open(name, version)) as file:
            return digest(file) == checksum
    except (DamagedError, NotYetError):
        return False


def _broken_there(place: Place, parcel: Parcel) -> str | None:
    """The version of what has the name of an archive without being whole; None if that may be of worth: a
    whole file, a part of another archive, one that can't be read now, or all that there is."""
    there = place.stat(parcel.name)
    if there is None or parcel.archive is None or parcel.damaged:
        return None
    try:
        with closing(place.open(there.name, there.version)) as file:
            if _archive_in(file) not in (None, parcel.archive):
                return None
            CheckedSource(file, archive=parcel.archive).read_rest()
    except DamagedError:
        return there.version
    except (NotYetError, UnsupportedError):
        return None
    return None


def _archive_in(file: RandomAccess) -> ArchiveId | None:
    """Which archive this is, by its end or else by its beginning; None if neither tells."""
    with suppress(DamagedError):
        return open_sealed(file).header.archive
    with suppress(DamagedError):
        return decode_any_header(file.read_at(0, HEADER_BYTES), file.name)[0].archive
    return None
