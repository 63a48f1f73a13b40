"""An archive written anew without what nobody needs any more, or without what is damaged.

It keeps its id, and every byte of data that stays keeps its position: what refers to it stays right. What
is left out becomes a hole. FORMAT.md, "Generations".
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress

from ..errors import DamagedError, EncryptedError, UnsupportedError
from ..keys.records import Sealing
from ..ports import ArchiveSink
from ..records import DIGEST_BYTES, ArchiveId, Departed, Losses, Skipped, Stretch
from ..structs import Record, replace
from .contents import PLAIN_VERSION, WRITE_VERSION, frames_gone
from .frames import Codec, FrameType
from .reader import ArchiveReader
from .writer import ArchiveTotals, ArchiveWriter

_SMALLEST_HOLE = 256
"""Within a block that is cut, a shorter one is not worth the header of one more block; unless nothing may
stay that is not wanted."""

_PART_BYTES = 8 << 20
_BEYOND = 1 << 63

Account = Callable[[Sequence[Stretch], Sequence[Stretch], int], Losses]
"""Tells what is lost of the data and of the frames of metadata, of what is not there of both, and where the
data ends now."""

Fill = Callable[[Stretch], bytes | None]
"""Gives the bytes of a stretch of the data that the archive does not hold, or None."""


class Metadata(Record):
    """What of the metadata of an archive is wanted: of which ``users`` it is to tell; the ``mailboxes`` (by
    number) and the ``frames`` of messages (by position) that somebody refers to."""

    users: Container[str]
    mailboxes: Container[int]
    frames: Container[int]


class _All:
    def __contains__(self, _: object) -> bool:
        return True


ALL = Metadata(users=_All(), mailboxes=_All(), frames=_All())
"""All of the metadata."""


class Rewritten(ArchiveTotals):
    """What an archive came to. ``lost`` is what it says to be lost, ``lost_frames`` tells how many of its
    frames of messages stand for lost ones; ``unreadable`` are the users whose metadata was damaged: it tells
    of none of them."""

    generation: int
    references: tuple[ArchiveId, ...]
    holes: tuple[Stretch, ...]
    lost: Losses
    lost_frames: int
    unreadable: tuple[str, ...]


def rewrite(
    source: ArchiveReader,
    sink: ArchiveSink,
    *,
    stretches: Iterable[Stretch],
    metadata: Metadata,
    departed: Iterable[Departed] = (),
    fill: Fill | None = None,
    losses: Account | None = None,
    codec: Codec = Codec.LZ4,
    level: int = 3,
    sealing: Sealing | None = None,
    exact: bool = False,
    is_told: Callable[[Departed | Skipped], bool] = lambda _: True,
) -> Rewritten:
    """Write the next generation of an archive: of its data these ``stretches`` (ascending, not overlapping),
    the ``metadata`` that is wanted, under the same numbers, and the index of all segments that lie in the
    stretches. It tells of all that have departed, also of those that somebody else knows to have
    ``departed``; of these, and of mailboxes that could not be opened, only those that are to be told
    (``is_told``).

    Blocks that stay as a whole, and metadata, are copied as they are stored. Where a wanted stretch lies in
    a hole or a damaged block, ``fill`` is asked for it, in parts of at most 8 MiB that do not cross blocks;
    what it can't give becomes a hole. Damaged messages and search terms are left out in such a way that a
    reader tells so. What of all that is not there is a loss, ``losses`` says; without it, what the source
    says to be lost. The caller begins and seals the sink, as with ``ArchiveWriter``.

    Of an archive whose mailboxes are erasable nothing is filled in where nobody can say whose it was. What is
    not encrypted stays so. An encrypted archive takes a ``sealing``; where there is no content key, whole
    blocks stay, even if part of them is not wanted. With ``exact`` no byte of data stays but the stretches:
    short gaps are cut out too, and where that takes a content key that is not at hand, EncryptedError is
    raised.

    Raises StagingError; before anything is written UnsupportedError, if only a later version may do it, and
    EncryptedError without a ``sealing``.
    """
    if source.header.sealed and sealing is None:
        raise EncryptedError(f"{source.file.name}: to write it anew takes the structure key")
    if source.header.write_version > WRITE_VERSION:
        raise UnsupportedError(
            f"{source.file.name}: the archive can be written anew only by a later version: "
            f"{source.header.write_version}"
        )
    header = replace(source.header, generation=source.header.generation + 1, write_version=_version(source))
    told = filter(is_told, (*_departures(source), *departed))
    gone = {(one.user, one.run): one for one in told}
    archive = ArchiveWriter(
        sink,
        header,
        codec,
        level,
        departed=gone.values(),
        sealing=sealing if source.header.sealed else None,
        slots=source.codec.key_slots,
    )
    kept = _Data(source, archive, fill, exact=exact).write(stretches)
    _write_index(source, archive, kept)
    unreadable = _write_metadata(source, archive, metadata)
    lost = source.directory.lost
    if losses is not None:
        lost = losses(archive.holes, frames_gone(archive.places, archive.lost_frames), archive.data_bytes)
    totals = archive.finish(filter(is_told, source.directory.unopened), lost, source.referred)
    return Rewritten(
        totals.data_bytes,
        totals.archive_bytes,
        header.generation,
        archive.references,
        archive.holes,
        lost,
        len(archive.lost_frames),
        unreadable,
    )


def _version(source: ArchiveReader) -> int:
    """The write version of the next generation."""
    return WRITE_VERSION if source.header.sealed else PLAIN_VERSION


def _write_metadata(source: ArchiveReader, archive: ArchiveWriter, wanted: Metadata) -> tuple[str, ...]:
    """Returns the users whose metadata is damaged."""
    entries = {}
    for entry in source.directory.mailboxes:
        if entry.home.archive == archive.header.archive:
            entries[entry.home.number] = entry
    lost = []
    for place in source.directory.places:
        told = entries.get(place.number)
        told = told if told is not None and told.user in wanted.users else None
        whole = told is not None or place.number in wanted.mailboxes
        if not archive.rewrite_mailbox(source, place, told, wanted.frames, whole=whole) and told is not None:
            lost.append(told.user)
    for entry in source.directory.mailboxes:
        if entry.home.archive != archive.header.archive and entry.user in wanted.users:
            archive.take_over(entry)
    return tuple(lost)


def _departures(source: ArchiveReader) -> tuple[Departed, ...]:
    """Who has departed, as far as it can be told."""
    try:
        return source.departures()
    except DamagedError:
        return ()


def _write_index(source: ArchiveReader, archive: ArchiveWriter, kept: _Stretches) -> None:
    """Also of what could not be read: its digest tells what belongs into the hole."""
    with suppress(DamagedError):  # an index that is damaged costs nothing but space, later
        for row in source.index(lost=True):
            for number, (offset, length) in enumerate(zip(row.offsets, row.lengths, strict=True)):
                if kept.hold(offset, length):
                    digest = row.digests[DIGEST_BYTES * number : DIGEST_BYTES * (number + 1)]
                    archive.index.remember(digest, offset, length, row.owner)


class _Stretches:
    """Stretches that come in order; what lies in a row is one."""

    def __init__(self) -> None:
        self._begins = array("Q")
        self._ends = array("Q")

    def add(self, stretch: Stretch) -> None:
        """The next one. Raises ValueError if it does not lie behind the last."""
        offset, length = stretch
        last = self._ends[-1] if self._ends else 0
        if offset < last:
            raise ValueError(f"stretches out of order: {stretch}")
        if self._ends and offset == last:
            self._ends[-1] += length
        else:
            self._begins.append(offset)
            self._ends.append(offset + length)

    def hold(self, offset: int, length: int) -> bool:
        """Whether all of this lies in one of them."""
        before = bisect_right(self._begins, offset) - 1
        return before >= 0 and offset + length <= self._ends[before]


class _Region(Record):
    """A stretch of the data of the source: a block, or what no block holds (``block`` is None)."""

    begin: int
    end: int
    block: int | None = None


def _regions(source: ArchiveReader) -> Iterator[_Region]:
    """All of the data in order; at last what lies beyond it, for a broken archive may not know its end."""
    at, whole = 0, source.directory
    for number, begin in enumerate(whole.blocks.data):
        if begin > at:
            yield _Region(at, begin)
        at = whole.block_end(number)
        yield _Region(begin, at, number)
    if at < whole.data_bytes:
        yield _Region(at, whole.data_bytes)
    if source.damage or source.behind:
        yield _Region(whole.data_bytes, _BEYOND)


class _Data:
    """Writes the data of an archive again."""

    def __init__(
        self, source: ArchiveReader, archive: ArchiveWriter, fill: Fill | None, *, exact: bool
    ) -> None:
        self._smallest_hole = 1 if exact else _SMALLEST_HOLE
        self._exact = exact
        self._source = source
        self._archive = archive
        self._fill = fill
        self.stretches = _Stretches()

    def write(self, stretches: Iterable[Stretch]) -> _Stretches:
        """Only these; returns them."""
        left = iter(stretches)
        current = self._next(left)
        for region in _regions(self._source):
            wanted = []
            while current is not None and current.offset < region.end:
                begin, end = max(current.offset, region.begin), current.offset + current.length
                if begin < min(end, region.end):
                    wanted.append(Stretch(begin, min(end, region.end) - begin))
                if end > region.end:
                    break
                current = self._next(left)
            self._write_region(region, wanted)
        return self.stretches

    def _next(self, left: Iterator[Stretch]) -> Stretch | None:
        stretch = next(left, None)
        if stretch is not None:
            self.stretches.add(stretch)
        return stretch

    def _write_region(self, region: _Region, wanted: list[Stretch]) -> None:
        if wanted and region.block is not None:
            try:
                self._copy(region, region.block, wanted)
            except DamagedError:
                pass
            else:
                return
        owner = self._owner(region) if self._fill is not None else None
        for stretch in wanted:
            self._leave_out(stretch.offset)
            if self._fill is None or owner is None:
                self._leave_out(stretch.offset + stretch.length)
            else:
                self._refill(stretch, self._fill, owner)
        if region.end < _BEYOND:
            self._leave_out(region.end)

    def _copy(self, region: _Region, block: int, wanted: list[Stretch]) -> None:
        """Raises DamagedError, before anything is written, if the block is damaged."""
        whole = [Stretch(region.begin, region.end - region.begin)]
        wanted = _without_small_holes(wanted, region, self._smallest_hole)
        if not self._exact and not self._source.opens(
            self._source.directory.blocks.place(block), FrameType.BLOCK
        ):
            wanted = whole
        if wanted == whole:
            self._archive.copy_block(self._source.stored_block(block))
            return
        plain = memoryview(self._source.block(block))
        owner = self._owner(region) or b""
        for offset, length in wanted:
            self._leave_out(offset)
            self._archive.append_for(owner, plain[offset - region.begin :][:length])
        self._leave_out(region.end)

    def _owner(self, region: _Region) -> bytes | None:
        """Whose data a region holds, as an owner in FrameCodec; None if nobody can say: what is of a mailbox
        must not come under keys that outlive those of the mailbox."""
        codec = self._source.codec
        if not codec.key_slots.mailboxes:
            return b""
        if region.block is None:
            return None
        header = self._source.block_header(region.block)
        return codec.owner_of(header.slot) if header is not None else None

    def _refill(self, wanted: Stretch, fill: Fill, owner: bytes) -> None:
        for part in _parts(wanted):
            data = fill(part)
            if data is None:
                self._archive.leave_out(part.length)
            elif len(data) == part.length:
                self._archive.append_for(owner, data)
            else:
                raise ValueError(f"{len(data)} bytes for {part}")

    def _leave_out(self, end: int) -> None:
        """All up to this offset of the data."""
        self._archive.leave_out(end - self._archive.data_bytes)


def _without_small_holes(wanted: list[Stretch], region: _Region, smallest: int) -> list[Stretch]:
    """The stretches of a block, and what lies between them (and its ends) where that is small."""
    found: list[Stretch] = []
    begin = end = region.begin
    for offset, length in [*wanted, Stretch(region.end, 0)]:
        if offset - end >= smallest:
            if end > begin:
                found.append(Stretch(begin, end - begin))
            begin = offset
        end = offset + length
    return [*found, Stretch(begin, end - begin)] if end > begin else found


def _parts(stretch: Stretch) -> Iterator[Stretch]:
    end = stretch.offset + stretch.length
    for offset in range(stretch.offset, end, _PART_BYTES):
        yield Stretch(offset, min(_PART_BYTES, end - offset))
