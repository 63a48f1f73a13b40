"""What is still to be read of each block, in the order in which it will be: so a block is kept as long as
others need it, and no longer.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

from ..records import ArchiveId
from .reader import ArchiveReader

MOST_STRETCHES = 1 << 22
"""No more are remembered, at 16 bytes each, whatever metadata claims."""

Block = tuple[ArchiveId, int]
"""A block of an archive, by its number."""


class Demand:
    """Stretches that are to be read, by block. A guess: what is read beyond it, in another order or never,
    does no harm."""

    def __init__(self) -> None:
        self._stretches: dict[Block, array[int]] = {}  # begin, end, begin, end and so on: 16 bytes each
        self._left: dict[Block, int] = {}
        self._room = MOST_STRETCHES

    def __len__(self) -> int:
        """How many blocks there are of which something is to be read."""
        return len(self._left)

    def add(self, archive: ArchiveReader, begin: int, end: int) -> None:
        """A stretch of an archive's data will be read, after all that was added before."""
        name, starts = archive.header.archive, archive.directory.blocks.data
        number = bisect_right(starts, begin) - 1
        while 0 <= number < len(starts) and begin < end and self._room > 0:
            stop = min(end, archive.directory.block_end(number))
            if stop <= begin:
                return  # a hole: that is told when it is read
            self._room -= 1
            block = name, number
            self._stretches.setdefault(block, array("Q")).extend((begin, stop))
            self._left[block] = self._left.get(block, 0) + stop - begin
            begin, number = stop, number + 1

    def left(self, block: Block) -> int:
        """How many bytes of a block are still to be read."""
        return self._left.get(block, 0)

    def read(self, block: Block, count: int) -> bool:
        """So many bytes of a block were read; whether that was the last of what was to be read of it."""
        left = self.left(block)
        if left > count:
            self._left[block] = left - count
            return False
        self._stretches.pop(block, None)
        return self._left.pop(block, None) is not None

    def rest(self, block: Block) -> list[tuple[int, int]]:
        """What is still to be read of a block: stretches in ascending order that do not touch."""
        left, stretches = self._left.get(block, 0), self._stretches.get(block, array("Q"))
        ahead: list[tuple[int, int]] = []
        for number in range(len(stretches) - 2, -2, -2):
            if left <= 0:
                break
            ahead.append((stretches[number], stretches[number + 1]))
            left -= stretches[number + 1] - stretches[number]
        found: list[tuple[int, int]] = []
        for begin, end in sorted(ahead):
            if found and begin <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], end)
            else:
                found.append((begin, end))
        return found
