"""Which stretches of the data of archives can't be had any more: holes, and what is damaged.

Deciding only: nothing of the data is read here.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from ...proto.archive.contents import ArchiveDirectory
from ...proto.errors import DamagedError
from ...proto.records import ArchiveId, Piece, Stretch
from ...proto.structs import Record
from .stretches import merged


class _Opened(Protocol):
    @property
    def directory(self) -> ArchiveDirectory: ...


class Availability:
    """What there is of the data of one archive: all that its directory tells of, without its holes and what
    is known to be ``broken``."""

    def __init__(self, directory: ArchiveDirectory, broken: Iterable[Stretch] = ()) -> None:
        gaps = merged((*directory.holes, *broken))
        self.data_bytes = directory.data_bytes
        self.gaps = tuple(gaps)
        self._starts = array("Q", (gap.offset for gap in gaps))

    def missing(self, offset: int, length: int) -> tuple[Stretch, ...]:
        """Those parts of a stretch that can't be had, ascending."""
        end = offset + length
        found = []
        number = max(0, bisect_right(self._starts, offset) - 1)
        while number < len(self.gaps) and (gap := self.gaps[number]).offset < end:
            start = max(gap.offset, offset)
            left = min(gap.offset + gap.length, end) - start
            if left > 0:
                found.append(Stretch(start, left))
            number += 1
        if end > self.data_bytes:
            start = max(offset, self.data_bytes)
            found.append(Stretch(start, end - start))
        return tuple(found)


class Lack(Record):
    """Why a content can't be had: which ``stretches`` of which archives are missing, and the ``error`` for
    people. None are where the data is there, but not what was stored."""

    error: DamagedError
    stretches: tuple[tuple[ArchiveId, Stretch], ...]


class Availabilities:
    """The availability of many archives, each looked at when it is first asked for. ``open_archive`` raises
    DamagedError for one that is not there, or of which nothing can be read."""

    def __init__(
        self,
        open_archive: Callable[[ArchiveId], _Opened],
        broken: Mapping[ArchiveId, tuple[Stretch, ...]],
    ) -> None:
        self._open_archive = open_archive
        self._broken = broken
        self._known: dict[ArchiveId, Availability | DamagedError] = {}

    def of(self, archive: ArchiveId) -> Availability | DamagedError:
        """What there is of an archive, or why there is nothing."""
        known = self._known.get(archive)
        if known is None:
            try:
                known = Availability(self._open_archive(archive).directory, self._broken.get(archive, ()))
            except DamagedError as error:
                known = error
            self._known[archive] = known
        return known

    def has(self, archive: ArchiveId, offset: int, length: int) -> bool:
        """Whether this stretch of an archive can be had."""
        there = self.of(archive)
        return not isinstance(there, DamagedError) and not there.missing(offset, length)

    def has_all(self, archive: ArchiveId, stretches: array[int]) -> bool:
        """Whether all these stretches of an archive (begin, end, begin, end and so on) can be had."""
        there = self.of(archive)
        if isinstance(there, DamagedError):
            return False
        if there.gaps:
            pairs = zip(stretches[::2], stretches[1::2], strict=True)
            return not any(there.missing(begin, end - begin) for begin, end in pairs)
        return not stretches or max(stretches) <= there.data_bytes

    def lack(self, pieces: Iterable[Piece]) -> Lack | None:
        """Why these pieces can't all be read; None if they can, as far as is known."""
        error: DamagedError | None = None
        gone: list[tuple[ArchiveId, Stretch]] = []
        for piece in pieces:
            there = self.of(piece.archive)
            if isinstance(there, DamagedError):
                error = error or there
                gone.append((piece.archive, Stretch(piece.offset, piece.length)))
            elif missing := there.missing(piece.offset, piece.length):
                error = error or _told(piece.archive, there, missing[0])
                gone += [(piece.archive, stretch) for stretch in missing]
        return Lack(error, tuple(gone)) if error else None


def _told(archive: ArchiveId, there: Availability, first: Stretch) -> DamagedError:
    beyond = first.offset >= there.data_bytes
    what = "ends before" if beyond else "has lost what lay at"
    return DamagedError(
        f"archive {archive.hex()} {what} offset {first.offset} of its data",
        reason="metadata" if beyond else "block",
    )


def block_stretches(directory: ArchiveDirectory) -> Iterator[Stretch]:
    """The stretch of the data that each block holds, in their order."""
    for number, start in enumerate(directory.blocks.data):
        yield Stretch(start, directory.block_end(number) - start)
