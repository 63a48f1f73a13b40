"""Readers over archives, wherever these lie: over whole ones, and over what is whole in damaged ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

from ...proto.archive.contents import ArchiveHeader, decode_header
from ...proto.archive.files import Joined, RandomAccess, Twins, read_frame
from ...proto.archive.frames import FrameType
from ...proto.archive.places import FramePlace
from ...proto.archive.reader import ArchiveReader, open_sealed
from ...proto.archive.salvage import salvage
from ...proto.archive.sidecars import with_sidecars
from ...proto.archive.slots import read_slots
from ...proto.errors import BackupError, DamagedError, PlaceError
from ...proto.keys.records import NO_KEYS, Keyring, Slot
from ...proto.records import ArchiveId, Location
from ...proto.structs import replace
from ..destinations.settings import Destination
from .holdings import Holdings
from .places import Places, open_local

_MOST_FILES = 64
_MOST_ENTRIES = 200_000  # of mailboxes in directories, about 0.5 kB each


def beginning_of(file: RandomAccess) -> ArchiveHeader:
    """The header of an archive, without looking at the rest of it. Raises DamagedError, UnsupportedError."""
    return decode_header(read_frame(file, FramePlace(0, 0), FrameType.HEADER)[1])


def read_beginning(path: str) -> ArchiveHeader:
    """As ``beginning_of``, of a file of this host."""
    with closing(open_local(path)) as file:
        return beginning_of(file)


def open_archive(
    file: RandomAccess,
    *copies: RandomAccess,
    archive: ArchiveId | None = None,
    keys: Keyring = NO_KEYS,
    encrypted: bool = False,
) -> ArchiveReader:
    """A reader over an archive: over all of it, or over what is whole in it if it is damaged. What is damaged
    in one of several copies is taken from another. Raises DamagedError if nothing can be read, or
    (``foreign``) if it is not ``archive``, where that is known, or (``clear``) if it is not encrypted and is
    known to be ``encrypted``; EncryptedError without a structure key."""
    files = (file, *copies)
    together = Joined(files) if copies else None
    refused: BackupError | None = None
    clear: list[RandomAccess] = []
    for access in files:
        worse = []
        for twin in access.files if isinstance(access, Twins) else (access,):
            try:
                found = open_sealed(twin, together, keys)
            except DamagedError:
                worse.append(twin)
                continue
            except PlaceError as error:
                refused = refused or error
                continue
            if encrypted and not found.codec.seals:
                worse.append(twin)
                clear.append(twin)
                continue
            if archive is None or found.header.archive == archive:
                return _over(access, found, worse) if isinstance(access, Twins) else found
            worse.append(twin)
            refused = refused or _foreign(found, archive)
    if refused is not None:
        raise refused
    if clear:
        files = tuple(twin for twin in _apart(files) if twin not in clear)
        if not files:
            raise _clear(clear[0])
        file, together = files[0], Joined(files)
    reader = salvage(together or file, keys)
    if archive is not None:
        refuse_foreign(reader, archive)
    if encrypted:
        refuse_clear(reader)
    return reader


def _apart(files: Iterable[RandomAccess]) -> Iterator[RandomAccess]:
    for file in files:
        yield from file.files if isinstance(file, Twins) else (file,)


def _over(twins: Twins, first: ArchiveReader, worse: Iterable[RandomAccess]) -> ArchiveReader:
    """The reader of one of some twins, the first that could be opened, over all of them."""
    twins.note_damage(worse)
    return ArchiveReader(twins, first.header, first.directory, copies=first.copies, codec=first.codec)


def refuse_foreign(reader: ArchiveReader, archive: ArchiveId) -> None:
    """Raise DamagedError (``foreign``) if a file holds another archive than it should: an old copy may have
    come back under its name."""
    if reader.header.archive != archive:
        raise _foreign(reader, archive)


def _foreign(reader: ArchiveReader, archive: ArchiveId) -> DamagedError:
    held = reader.header.archive.hex()
    return DamagedError(f"{reader.file.name}: it holds archive {held}, not {archive.hex()}", reason="foreign")


def refuse_clear(reader: ArchiveReader) -> None:
    """Raise DamagedError (``clear``) if a file is not encrypted: whoever can write to a place can make such a
    file in the place of an archive that is."""
    if not reader.codec.seals:
        raise _clear(reader.file)


def _clear(file: RandomAccess) -> DamagedError:
    return DamagedError(
        f"{file.name}: it is in clear, and the archive is known to be encrypted", reason="clear"
    )


Unlock = Callable[[tuple[Slot, ...]], Keyring]
"""The keys of some slots, as far as they can be opened."""


class OpenArchives:
    """Readers of archives, opened when first asked for: as many as there are, whatever the number of files
    that may be open and however many mailboxes their directories name.

    ``damaged`` are the copies at destinations in which something is damaged that was read from another."""

    def __init__(
        self, holdings: Holdings, places: Places, stack: ExitStack, unlock: Unlock | None = None
    ) -> None:
        self.damaged: set[tuple[ArchiveId, Location]] = set()
        self._locations = holdings.locations
        self._encrypted = holdings.encrypted
        self._keys = holdings.keys
        self._unlock = unlock
        self._destinations = {place.name for place in holdings.places if isinstance(place, Destination)}
        self._pool = _FilePool(places)
        self._readers: OrderedDict[ArchiveId, ArchiveReader] = OrderedDict()
        self._entries = 0
        self._data: dict[ArchiveId, ArchiveReader] = {}
        stack.callback(self._pool.close)

    def __call__(self, archive: ArchiveId) -> ArchiveReader:
        """Raises DamagedError if there is no such archive, or nothing of it can be read."""
        reader = self._readers.get(archive)
        if reader is not None:
            self._readers.move_to_end(archive)
            return reader
        reader = self._readers[archive] = self._opened(archive)
        self._entries += len(reader.directory.mailboxes)
        while self._entries > _MOST_ENTRIES and len(self._readers) > 1:
            _, oldest = self._readers.popitem(last=False)
            self._entries -= len(oldest.directory.mailboxes)
        return reader

    def data(self, archive: ArchiveId) -> ArchiveReader:
        """A reader of the data of an archive: it knows of no mailboxes, so that any number of them can be
        kept. Raises as a call does."""
        reader = self._data.get(archive)
        if reader is None:
            whole = self._readers.get(archive) or self._opened(archive)
            directory = replace(whole.directory, mailboxes=())
            reader = self._data[archive] = ArchiveReader(
                whole.file, whole.header, directory, whole.damage, whole.copies, codec=whole.codec
            )
        return reader

    def _opened(self, archive: ArchiveId) -> ArchiveReader:
        copies = self._locations.get(archive, ())
        if not copies:
            raise DamagedError(f"archive {archive.hex()} is not at hand", reason="missing")
        files = self._files(archive, copies)
        encrypted = archive in self._encrypted
        keys = self._keys
        if self._unlock is not None:
            keys = keys.and_those(self._unlock(with_sidecars(_slots_of(files, encrypted=encrypted), keys)))
        return open_archive(*files, archive=archive, keys=keys, encrypted=encrypted)

    def _files(self, archive: ArchiveId, copies: Sequence[Location]) -> list[RandomAccess]:
        """Those of some copies that can be opened; those with the same name hold the same bytes. Raises the
        error of the first if none can."""
        files: dict[str, list[RandomAccess]] = {}
        where: dict[RandomAccess, Location] = {}
        first: BackupError | None = None

        def note(file: RandomAccess) -> None:
            if where[file].place in self._destinations:
                self.damaged.add((archive, where[file]))

        for copy in copies:
            try:
                file = _PooledFile(self._pool, copy)
            except (DamagedError, PlaceError) as error:
                first = first or error
            else:
                files.setdefault(copy.name, []).append(file)
                where[file] = copy
        if first is not None and not files:
            raise first
        return [Twins(twins, note) if len(twins) > 1 else twins[0] for twins in files.values()]


class _FilePool:
    """The files that were read last, open."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._files: OrderedDict[Location, RandomAccess] = OrderedDict()

    def file(self, location: Location) -> RandomAccess:
        file = self._files.get(location)
        if file is not None:
            self._files.move_to_end(location)
            return file
        if len(self._files) >= _MOST_FILES:
            self._files.popitem(last=False)[1].close()
        file = self._files[location] = self._places.open(location)
        return file

    def close(self) -> None:
        """Repeatable."""
        while self._files:
            self._files.popitem()[1].close()


class _PooledFile:
    """A RandomAccess that is opened again where the pool has closed it meanwhile."""

    def __init__(self, pool: _FilePool, location: Location) -> None:
        self._pool = pool
        self._location = location
        if location.size_bytes:
            # What lies far away is opened only if something of it is needed.
            self.name, self.size = f"{location.place}:{location.name}", location.size_bytes
        else:
            file = pool.file(location)
            self.name, self.size = file.name, file.size

    def read_at(self, offset: int, length: int) -> bytes:
        return self._pool.file(self._location).read_at(offset, length)

    def close(self) -> None:
        """The pool closes it."""


def _slots_of(files: Iterable[RandomAccess], *, encrypted: bool) -> tuple[Slot, ...]:
    """The slots of an archive, by the first copy that has them; one in clear is passed over where it is known
    to be ``encrypted``."""
    for file in _apart(files) if encrypted else files:
        with suppress(DamagedError, PlaceError):
            slots = read_slots(file)
            if slots or not encrypted:
                return slots
    return ()


@contextmanager
def opened_archives(
    holdings: Holdings, host: str = "", grant: bytes = b"", unlock: Unlock | None = None
) -> Iterator[OpenArchives]:
    """Readers over archives; closed at the end. ``host`` and ``grant``: see Places. ``unlock`` opens the keys
    of each archive when that is opened."""
    with ExitStack() as stack, closing(Places(holdings.places, host, grant)) as places:
        yield OpenArchives(holdings, places, stack, unlock)
