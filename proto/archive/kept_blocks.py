"""Blocks that were read, kept for the next piece that lies in them: whole ones, and of those for which there
is no room what is still to be read of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict

from .demand import Block, Demand
from .reader import ArchiveReader

_Part = tuple[int, bytes]
"""A stretch of data: where it begins, and what it is."""


_ENDLESS = 1 << 64
_NOTHING = memoryview(b"")


class KeptBlocks:
    """Gives data out of blocks. Keeps whole blocks up to ``whole_bytes``, the ones used last; of others what
    there is ``demand`` for, up to ``rest_bytes``, the ones set aside last. What nobody demands any more is
    dropped at once.

    Most pieces lie in the block of the piece before them: that block is at hand, and what was read of it is
    counted when another one comes."""

    def __init__(self, whole_bytes: int, rest_bytes: int, demand: Demand | None) -> None:
        self._demand = demand
        self._whole: OrderedDict[Block, _Part] = OrderedDict()
        self._whole_bytes, self._whole_size = whole_bytes, 0
        self._rests: OrderedDict[Block, list[_Part]] = OrderedDict()  # ascending
        self._rest_bytes, self._rest_size = rest_bytes, 0
        self.read = 0
        self._let_go()

    def chunk(self, archive: ArchiveReader, offset: int, length: int) -> memoryview:
        """Data of an archive from ``offset`` on: so many bytes, or as many as lie there in one block. As long
        as somebody keeps it, the block stays in memory. Raises DamagedError."""
        at = offset - self._begin
        if archive is not self._archive or not 0 <= at < self._size:
            self._turn_to(archive, offset, length)
            at = offset - self._begin
        chunk = self._data[at : at + length]
        self._given += len(chunk)
        if self._given >= self._left:
            self._settle()
        return chunk

    def _let_go(self) -> None:
        """No block is at hand."""
        self._archive: ArchiveReader | None = None
        self._name: Block | None = None
        self._begin = self._size = 0
        self._data = _NOTHING
        self._given, self._left = 0, _ENDLESS

    def _turn_to(self, archive: ArchiveReader, offset: int, length: int) -> None:
        """Have the block at hand in which an offset lies, or the part of it that has all of the stretch."""
        self._settle()
        number = archive.block_at(offset)
        name = archive.header.archive, number
        part = self._whole.get(name)
        if part is not None:
            self._whole.move_to_end(name)
        else:
            end = min(offset + length, archive.directory.block_end(number))
            part = self._of_rest(name, offset, end) or self._fetched(archive, name)
        self._archive, self._name = archive, name
        self._begin, self._data = part[0], memoryview(part[1])
        self._size = len(self._data)
        self._left = (self._demand.left(name) if self._demand is not None else 0) or _ENDLESS

    def _settle(self) -> None:
        """Count what was read of the block at hand, and let it go."""
        name, given = self._name, self._given
        self._let_go()
        if name is None or self._demand is None or not self._demand.read(name, given):
            return
        self._whole_size -= len(self._whole.pop(name, (0, b""))[1])
        self._forget_rest(name)

    def _fetched(self, archive: ArchiveReader, name: Block) -> _Part:
        self._forget_rest(name)
        block = archive.block(name[1])
        self.read += 1
        part = self._whole[name] = archive.directory.blocks.data[name[1]], block
        self._whole_size += len(block)
        while self._whole_size > self._whole_bytes and len(self._whole) > 1:
            self._set_aside(*self._whole.popitem(last=False))
        return part

    def _set_aside(self, name: Block, whole: _Part) -> None:
        """Keep what is still to be read of a block."""
        start, block = whole
        self._whole_size -= len(block)
        stretches = self._demand.rest(name) if self._demand is not None else []
        if not stretches:
            return
        rest = [(begin, block[begin - start : end - start]) for begin, end in stretches]
        self._rests[name] = rest
        self._rest_size += sum(len(part) for _, part in rest)
        while self._rest_size > self._rest_bytes:
            self._forget_rest(next(iter(self._rests)))

    def _of_rest(self, name: Block, offset: int, end: int) -> _Part | None:
        """The part that has all of a stretch."""
        rest = self._rests.get(name, [])
        place = bisect_right(rest, offset, key=lambda part: part[0]) - 1
        if place < 0 or rest[place][0] + len(rest[place][1]) < end:
            return None
        return rest[place]

    def _forget_rest(self, name: Block) -> None:
        self._rest_size -= sum(len(part) for _, part in self._rests.pop(name, ()))
