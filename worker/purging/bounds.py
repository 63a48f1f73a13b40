"""Bounds: stretches of the data of archives as one array, where each begins and ends. So they can be gathered
from many messages in bounded memory, and travel between processes as bytes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping

from ...proto.records import ArchiveId, Stretch

_FEWEST = 1 << 12


class Stretches:
    """The stretches of one archive's data that were added. Takes memory for those that remain when all that
    overlap or touch are one, and as many again."""

    def __init__(self) -> None:
        self._bounds = array("Q")
        self._limit = 2 * _FEWEST

    def add(self, bounds: array[int]) -> None:
        """Add stretches: where each begins and ends, one after the other."""
        self._bounds.extend(bounds)
        if len(self._bounds) > self._limit:
            self._bounds = merged(self._bounds)
            self._limit = 2 * max(_FEWEST, len(self._bounds))

    def take(self) -> array[int]:
        """Bounds of what was added: ascending, without overlaps; those that touch are one."""
        self._bounds = merged(self._bounds)
        return self._bounds


def merged(bounds: array[int]) -> array[int]:
    """The same stretches in order, those that overlap or touch as one."""
    pairs = sorted(zip(bounds[::2], bounds[1::2], strict=True))
    found = array("Q")
    last_begin = last_end = -1
    for begin, end in pairs:
        if begin > last_end:
            if last_end > last_begin:
                found.extend((last_begin, last_end))
            last_begin, last_end = begin, end
        elif end > last_end:
            last_end = end
    if last_end > last_begin:
        found.extend((last_begin, last_end))
    return found


def joined(many: Iterable[Mapping[ArchiveId, bytes]]) -> dict[ArchiveId, bytes]:
    """What several parts of the work have found, put together; bounds as bytes, as in reports."""
    found: dict[ArchiveId, Stretches] = {}
    for one in many:
        for archive, packed in one.items():
            found.setdefault(archive, Stretches()).add(unpacked(packed))
    return {archive: stretches.take().tobytes() for archive, stretches in found.items()}


def unpacked(packed: bytes) -> array[int]:
    """Bounds from their bytes."""
    bounds = array("Q")
    bounds.frombytes(packed)
    return bounds


def widened(bounds: array[int], gap: int) -> array[int]:
    """The same stretches, those with less than ``gap`` bytes between them as one. They are in order."""
    found = array("Q")
    for begin, end in pairs(bounds):
        if found and begin - found[-1] < gap:
            found[-1] = end
        else:
            found.extend((begin, end))
    return found


def as_stretches(bounds: array[int]) -> Iterator[Stretch]:
    """The same stretches as records."""
    return (Stretch(begin, end - begin) for begin, end in pairs(bounds))


def pairs(bounds: array[int]) -> Iterator[tuple[int, int]]:
    """Begin and end of each stretch."""
    return zip(bounds[::2], bounds[1::2], strict=True)
