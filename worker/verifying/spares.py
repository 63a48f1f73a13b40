"""Segments that are lost in one archive and that another one holds, too: found by their digests."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import NamedTuple

from ...proto.archive.contents import IndexRow, decode_index
from ...proto.archive.frames import FrameType
from ...proto.archive.places import FramePlace
from ...proto.archive.reader import ArchiveReader
from ...proto.errors import DamagedError, EncryptedError, PlaceError
from ...proto.ports import ProgressSink
from ...proto.records import DIGEST_BYTES, ArchiveId, Location, Progress, Stretch
from ..archives.availability import Availabilities
from ..archives.opened import open_archive
from ..archives.places import Places
from ..archives.stretches import merged


class Spare(NamedTuple):
    """``length`` bytes that are lost at ``offset`` of the data of an archive lie at ``at`` of the data of
    ``archive``, too; ``digest`` is theirs."""

    offset: int
    length: int
    digest: bytes
    archive: ArchiveId
    at: int


Spares = Mapping[ArchiveId, Sequence[Spare]]
"""For each archive what of its lost data others hold, ascending by offset."""


def find_spares(
    lost: Mapping[ArchiveId, Sequence[Stretch]],
    copies: Mapping[ArchiveId, Sequence[Location]],
    places: Places,
    holders: Iterable[ArchiveId],
    open_holder: Callable[[ArchiveId], ArchiveReader],
    broken: Mapping[ArchiveId, tuple[Stretch, ...]],
    progress: ProgressSink = lambda _: None,
) -> Spares:
    """Look for the lost stretches of each archive in ``holders``.

    Which segments lay there is told by the index of the archive itself or of an earlier copy of its file:
    ``copies``. What can't be read of all these is passed over; segments in archives whose digests are made
    with different keys are never found to be the same.
    """
    wanted: dict[bytes, list[tuple[ArchiveId, int, int]]] = {}
    for archive, stretches in lost.items():
        files = copies.get(archive, ())
        for digest, offset, length in _lost_segments(archive, merged(stretches), files, places):
            wanted.setdefault(digest, []).append((archive, offset, length))
    there = Availabilities(open_holder, broken)
    found: dict[ArchiveId, dict[int, Spare]] = {archive: {} for archive in lost}
    for number, holder in enumerate(holders if wanted else ()):
        progress(Progress("spares", number, 0))
        for digest, at, length in _held(open_holder, holder):
            for archive, offset, size in wanted.get(digest, ()):
                if size == length and there.has(holder, at, length):
                    found[archive].setdefault(offset, Spare(offset, length, digest, holder, at))
    return {archive: tuple(spares[offset] for offset in sorted(spares)) for archive, spares in found.items()}


def covered(stretch: Stretch, spares: Sequence[Spare]) -> list[Spare]:
    """The spares that together hold all of a stretch, in order; none if some of it is in none of them."""
    chosen: list[Spare] = []
    offset, end = stretch.offset, stretch.offset + stretch.length
    number = bisect_right(spares, offset, key=lambda one: one.offset) - 1
    while 0 <= number < len(spares) and offset < end:
        spare = spares[number]
        if not spare.offset <= offset < spare.offset + spare.length:
            return []
        chosen.append(spare)
        offset = spare.offset + spare.length
        number += 1
    return chosen if offset >= end else []


def _lost_segments(
    archive: ArchiveId, stretches: Sequence[Stretch], copies: Sequence[Location], places: Places
) -> Iterator[tuple[bytes, int, int]]:
    """Digest, offset and length of each segment of which something is lost."""
    starts = [stretch.offset for stretch in stretches]
    for copy in copies:
        with suppress(DamagedError, EncryptedError, PlaceError), closing(places.open(copy)) as file:
            reader = open_archive(file, keys=places.keys)
            if reader.header.archive != archive:
                continue
            for digest, offset, length in _segments(_whole_index(reader)):
                last = bisect_right(starts, offset + length - 1) - 1
                if last >= 0 and stretches[last].offset + stretches[last].length > offset:
                    yield digest, offset, length


def _whole_index(archive: ArchiveReader) -> Iterator[IndexRow]:
    """The index as it was written, with the segments that lie in holes of what is left of the archive."""
    for at in archive.directory.index_frames:
        with suppress(DamagedError):
            yield decode_index(archive.frame(FramePlace(at, 0), FrameType.INDEX)[1])


def _held(
    open_archive: Callable[[ArchiveId], ArchiveReader], archive: ArchiveId
) -> Iterator[tuple[bytes, int, int]]:
    """Digest, offset and length of each segment of an archive, as far as its index can be read."""
    with suppress(DamagedError, EncryptedError, PlaceError):
        yield from _segments(open_archive(archive).index())


def _segments(rows: Iterable[IndexRow]) -> Iterator[tuple[bytes, int, int]]:
    for row in rows:
        digests = row.digests
        for number, (offset, length) in enumerate(zip(row.offsets, row.lengths, strict=True)):
            yield digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES], offset, length
