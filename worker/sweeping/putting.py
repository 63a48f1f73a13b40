"""Files are put at a place, some at a time, and count when the place says that they are durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress

from ...proto.archive.files import RandomAccess
from ...proto.archive.frames import HEADER_BYTES, decode_any_header
from ...proto.archive.reader import open_sealed
from ...proto.errors import (
    AccessError,
    BackupError,
    DamagedError,
    EncryptedError,
    ExistsError,
    NotYetError,
    PlaceError,
    PlaceFullError,
    PlaceUnavailableError,
    UnsupportedError,
    is_damage,
)
from ...proto.records import ArchiveId, Location
from ...proto.structs import replace
from ..archives.ports import Copy, OnBytes, Place
from .checking import CheckedSource, digest
from .parcels import Delivery, Parcel

_MOST_REFUSALS = 3
"""A place that refuses so many files in a row is left alone."""

OpenSource = Callable[[Location], RandomAccess]


def deliver(place: Place, parcels: Iterable[Parcel], open_source: OpenSource, on_bytes: OnBytes) -> Delivery:
    """Put parcels at a place, in this order, and make them durable there.

    A source that can't be read costs its own parcel only, or those that come from the same place if that
    can't be reached. A place that is full, can't be reached or lets nobody in is left alone from there on;
    what it took before is made durable all the same.
    """
    put: list[tuple[Parcel, Copy]] = []
    failed: list[tuple[Parcel, BackupError]] = []
    unread: list[tuple[Parcel, BackupError]] = []
    away: dict[str, BackupError] = {}
    stopped: BackupError | None = None
    refusals = 0
    for parcel in parcels:
        if (known := away.get(parcel.source.place)) is not None:
            unread.append((parcel, known))
            continue
        opening = _Opening(parcel, open_source)
        try:
            put.append((parcel, _put(place, parcel, opening, on_bytes)))
            refusals = 0
        except BackupError as error:
            if opening.failed is not None:
                unread.append((parcel, opening.failed))
                if isinstance(opening.failed, PlaceUnavailableError):
                    away[parcel.source.place] = opening.failed
            elif isinstance(error, PlaceFullError | PlaceUnavailableError | AccessError):
                stopped = error
            else:
                failed.append((parcel, error))
                refusals += isinstance(error, PlaceError) and not isinstance(error, ExistsError)
                stopped = error if refusals == _MOST_REFUSALS else None
        if stopped is not None:
            break
    try:
        if put:
            place.commit()
    except BackupError as error:
        # Each may be there or not: they are put again, which finds those that are.
        return Delivery(failed=tuple(failed), unread=tuple(unread), stopped=error)
    return Delivery(put=tuple(put), failed=tuple(failed), unread=tuple(unread), stopped=stopped)


class _Opening:
    """The source of a parcel, opened and read: what ``failed`` there says nothing of the place that the
    parcel goes to. What was read in the end, after it was tried again, has not failed."""

    def __init__(self, parcel: Parcel, open_source: OpenSource) -> None:
        self.failed: BackupError | None = None
        self._parcel = parcel
        self._open = open_source

    @contextmanager
    def opened(self) -> Iterator[RandomAccess]:
        """Its file. Raises as that does, and as ``open_source``."""
        with self.noted():
            file = self._open(self._parcel.source)
        with closing(file):
            yield file

    @contextmanager
    def noted(self) -> Iterator[None]:
        """What is raised within is raised by the source."""
        try:
            yield
        except BackupError as error:
            self.failed = error
            raise
        self.failed = None


class _Source(CheckedSource):
    """A source that is checked while it is read, and what it raises is noted."""

    def __init__(
        self, file: RandomAccess, opening: _Opening, *, archive: ArchiveId | None, checksum: bytes
    ) -> None:
        self._opening = opening
        with opening.noted():
            super().__init__(file, archive=archive, checksum=checksum)

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        with self._opening.noted():
            return super().read_at(offset, length)


def _put(place: Place, parcel: Parcel, opening: _Opening, on_bytes: OnBytes) -> Copy:
    first = not parcel.checksum and not parcel.damaged
    archive = parcel.archive if first else None
    with opening.opened() as file:
        instead_of: tuple[str, ...] = ()
        if parcel.instead_of:
            known = parcel.checksum or _Source(file, opening, archive=archive, checksum=b"").read_rest()
            instead_of = _not_whole(place, parcel, known)
        while True:
            source = _Source(file, opening, archive=archive, checksum=parcel.checksum)
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
    except (DamagedError, NotYetError, UnsupportedError) as error:
        return there.version if is_damage(error) else None
    return None


def _archive_in(file: RandomAccess) -> ArchiveId | None:
    """Which archive this is, by its end or else by its beginning; None if neither tells."""
    with suppress(DamagedError, EncryptedError):
        return open_sealed(file).header.archive
    with suppress(DamagedError):
        return decode_any_header(file.read_at(0, HEADER_BYTES), file.name)[0].archive
    return None
