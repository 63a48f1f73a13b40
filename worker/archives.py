"""Where archives lie, and readers over them: whole ones, and what is whole in damaged ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..proto.archive.reader import ArchiveReader, LocalFile, RandomAccess, open_sealed
from ..proto.archive.salvage import salvage
from ..proto.errors import DamagedError
from ..proto.records import ArchiveId


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlace:
    """Where an archive lies: a file, or the stretch of it from ``start`` on (``size_bytes`` of it)."""

    file: str
    start: int = 0
    size_bytes: int | None = None


def open_place(place: ArchivePlace) -> LocalFile:
    """The file of an archive. Raises DamagedError (``missing``) if it can't be opened."""
    try:
        return LocalFile(place.file, place.start, place.size_bytes)
    except OSError as error:
        raise DamagedError(f"{place.file}: {error.strerror}", reason="missing") from error


def open_archive(file: RandomAccess) -> ArchiveReader:
    """A reader over an archive: over all of it, or over what is whole in it if it is damaged."""
    try:
        return open_sealed(file)
    except DamagedError:
        return salvage(file)


class OpenArchives:
    """Readers of archives, opened when first asked for."""

    def __init__(
        self,
        places: Mapping[ArchiveId, ArchivePlace],
        open_file: Callable[[ArchivePlace], RandomAccess],
        stack: ExitStack,
    ) -> None:
        self._places = places
        self._open_file = open_file
        self._stack = stack
        self._readers: dict[ArchiveId, ArchiveReader] = {}

    def __call__(self, archive: ArchiveId) -> ArchiveReader:
        """Raises DamagedError if there is no such archive, or nothing of it can be read."""
        reader = self._readers.get(archive)
        if reader is None:
            place = self._places.get(archive)
            if place is None:
                raise DamagedError(f"archive {archive.hex()} is not at hand", reason="missing")
            file = self._open_file(place)
            self._stack.callback(file.close)
            reader = self._readers[archive] = open_archive(file)
        return reader


@contextmanager
def opened_archives(
    places: Mapping[ArchiveId, ArchivePlace],
    open_file: Callable[[ArchivePlace], RandomAccess] = open_place,
) -> Iterator[OpenArchives]:
    """Readers over the archives at these places; closed at the end. ``open_file`` is the way to them, and
    raises DamagedError where there is none."""
    with ExitStack() as stack:
        yield OpenArchives(places, open_file, stack)
