"""Where archives lie, and readers over them: whole ones, and what is whole in damaged ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from ...proto.archive.contents import ArchiveHeader, decode_header
from ...proto.archive.files import Joined, LocalFile, RandomAccess, read_frame
from ...proto.archive.frames import FrameType
from ...proto.archive.places import FramePlace
from ...proto.archive.reader import ArchiveReader, open_sealed
from ...proto.archive.salvage import salvage
from ...proto.errors import DamagedError, UnreadableError
from ...proto.records import ArchiveId

_MOST_FILES = 64
_MOST_ENTRIES = 200_000  # of mailboxes in directories, about 0.5 kB each


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlace:
    """Where an archive lies: a file, or the stretch of it from ``start`` on (``size_bytes`` of it); and other
    ``copies`` of the same generation."""

    file: str
    start: int = 0
    size_bytes: int | None = None
    copies: tuple[ArchivePlace, ...] = ()


def open_place(place: ArchivePlace) -> LocalFile:
    """The file of an archive. Raises DamagedError (``missing``) if it can't be opened, UnreadableError if
    that is not allowed."""
    try:
        return LocalFile(place.file, place.start, place.size_bytes)
    except PermissionError as error:
        raise UnreadableError(f"{place.file}: {error.strerror}", reason="unreadable") from error
    except OSError as error:
        raise DamagedError(f"{place.file}: {error.strerror}", reason="missing") from error


def read_beginning(place: ArchivePlace) -> ArchiveHeader:
    """The header of an archive, without looking at the rest of it. Raises DamagedError, UnsupportedError."""
    file = open_place(place)
    try:
        return decode_header(read_frame(file, FramePlace(0, 0), FrameType.HEADER)[1])
    finally:
        file.close()


def open_archive(
    file: RandomAccess, *copies: RandomAccess, archive: ArchiveId | None = None
) -> ArchiveReader:
    """A reader over an archive: over all of it, or over what is whole in it if it is damaged. What is damaged
    in one of several copies is taken from another. Raises DamagedError if nothing can be read, or
    (``foreign``) if it is not ``archive``, where that is known."""
    reader = _reader((file, *copies))
    if archive is not None:
        refuse_foreign(reader, archive)
    return reader


def _reader(files: tuple[RandomAccess, ...]) -> ArchiveReader:
    together = Joined(files) if len(files) > 1 else files[0]
    for one in files:
        try:
            return open_sealed(one, together)
        except DamagedError:
            continue
    return salvage(together)


def refuse_foreign(reader: ArchiveReader, archive: ArchiveId) -> None:
    """Raise DamagedError (``foreign``) if a file holds another archive than it should: an old copy may have
    come back under its name."""
    found = reader.header.archive
    if found != archive:
        raise DamagedError(
            f"{reader.file.name}: it holds archive {found.hex()}, not {archive.hex()}", reason="foreign"
        )


class OpenArchives:
    """Readers of archives, opened when first asked for: as many as there are, whatever the number of files
    that may be open and however many mailboxes their directories name."""

    def __init__(
        self,
        places: Mapping[ArchiveId, ArchivePlace],
        open_file: Callable[[ArchivePlace], RandomAccess],
        stack: ExitStack,
    ) -> None:
        self._places = places
        self._pool = _FilePool(open_file)
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
        place = self._places.get(archive)
        if place is None:
            raise DamagedError(f"archive {archive.hex()} is not at hand", reason="missing")
        files = []
        for one in (place, *place.copies):
            try:
                files.append(_PooledFile(self._pool, one))
            except DamagedError:
                if one == place and not place.copies:
                    raise
        if not files:
            raise DamagedError(f"{place.file}: no copy of it can be opened", reason="missing")
        return open_archive(*files, archive=archive)


class _FilePool:
    """The files that were read last, open."""

    def __init__(self, open_file: Callable[[ArchivePlace], RandomAccess]) -> None:
        self._open_file = open_file
        self._files: OrderedDict[ArchivePlace, RandomAccess] = OrderedDict()

    def file(self, place: ArchivePlace) -> RandomAccess:
        file = self._files.get(place)
        if file is not None:
            self._files.move_to_end(place)
            return file
        if len(self._files) >= _MOST_FILES:
            self._files.popitem(last=False)[1].close()
        file = self._files[place] = self._open_file(place)
        return file

    def close(self) -> None:
        """Repeatable."""
        while self._files:
            self._files.popitem()[1].close()


class _PooledFile:
    """A RandomAccess that is opened again where the pool has closed it meanwhile."""

    def __init__(self, pool: _FilePool, place: ArchivePlace) -> None:
        self._pool = pool
        self._place = place
        file = pool.file(place)
        self.name, self.size = file.name, file.size

    def read_at(self, offset: int, length: int) -> bytes:
        return self._pool.file(self._place).read_at(offset, length)

    def close(self) -> None:
        """The pool closes it."""


@contextmanager
def opened_archives(
    places: Mapping[ArchiveId, ArchivePlace],
    open_file: Callable[[ArchivePlace], RandomAccess] = open_place,
) -> Iterator[OpenArchives]:
    """Readers over the archives at these places; closed at the end. ``open_file`` is the way to them, and
    raises DamagedError where there is none."""
    with ExitStack() as stack:
        yield OpenArchives(places, open_file, stack)
