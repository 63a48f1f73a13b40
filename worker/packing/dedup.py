"""What has been stored already in this group: from the digest of a segment to where it lies.

Compact tables over flat arrays, so that millions of segments fit: a dict of byte strings would take several
times the memory. They fill fast, since each run begins with what the ones before it have stored: one short
loop over machine integers, no object for each row. What is worth remembering is decided in ``segments``.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain

from ...proto.records import DIGEST_BYTES, ArchiveId

_SMALLEST = 1 << 12
_word = struct.Struct("=I").unpack_from  # the first four bytes of a digest, as a number, as ``_words`` does
_LONGEST = (
    1  # so many rows are on a chain, at most, on average: most lookups are in vain, and compare as many
)


class Chains:
    """Rows by a number that is spread evenly: those whose numbers end alike hang on one chain.

    Rows count from 1. Whether it is the right one on its chain, the caller has to compare.
    """

    def __init__(self) -> None:
        self.heads = array("I", bytes(4 * _SMALLEST))  # 0: none, else the last row of this chain
        self.following = array("I", (0,))  # by row: the one before it on its chain, 0: none
        self.mask = _SMALLEST - 1

    def __len__(self) -> int:
        return len(self.following) - 1

    def add(self, word: int) -> None:
        """Append a row."""
        slot = word & self.mask
        self.following.append(self.heads[slot])
        self.heads[slot] = len(self.following) - 1

    def rebuild(self, words: Iterable[int], count: int, rows: int) -> None:
        """Hang these ``count`` words, those of all rows, on as many chains as ``rows`` of them need."""
        size = _SMALLEST
        while _LONGEST * size < rows:
            size *= 2
        heads, following, mask = array("I", bytes(4 * size)), array("I", bytes(4 * (count + 1))), size - 1
        for row, word in enumerate(words, 1):
            slot = word & mask
            following[row] = heads[slot]
            heads[slot] = row
        self.heads, self.following, self.mask = heads, following, mask


Found = tuple[ArchiveId, int]
"""Where a segment lies: in the data of this archive, at this offset."""


class SegmentIndex:
    """Digest -> the archive in whose data the segment lies, and its offset there. What is of one mailbox only
    (of the ``owner`` with this id) is found for that mailbox only."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._offsets = array("Q")
        self._chains = Chains()
        # Rows of one archive and owner stand in a row: where each such stretch begins, and whose it is.
        self._begins: list[int] = []
        self._whose: list[tuple[ArchiveId, bytes]] = []

    def __len__(self) -> int:
        return len(self._offsets)

    def find(self, digest: bytes, owner: bytes = b"", *, whoever: bool = False) -> Found | None:
        """Where the segment with this digest lies that ``owner`` may refer to (``whoever`` its owner is), or
        None."""
        chains, digests = self._chains, self._digests
        if len(chains.following) <= len(self._offsets):
            self._hang(len(self))
        row = chains.heads[_word(digest)[0] & chains.mask]
        while row:
            end = row * DIGEST_BYTES
            if digests[end - DIGEST_BYTES : end] == digest:
                archive, whose = self._whose[bisect_right(self._begins, row - 1) - 1]
                if not whose or whose == owner or whoever:
                    return archive, self._offsets[row - 1]
            row = chains.following[row]
        return None

    def add(self, archive: ArchiveId, digest: bytes, offset: int, owner: bytes = b"") -> None:
        """Remember a segment that ``find`` did not know."""
        chains, count = self._chains, len(self._offsets)
        if len(chains.following) <= count or count > _LONGEST * chains.mask:
            self._hang(2 * count)
        self._belong_to(archive, owner)
        self._digests += digest
        self._offsets.append(offset)
        chains.add(_word(digest)[0])

    def extend(self, archive: ArchiveId, digests: bytes, offsets: Sequence[int], owner: bytes = b"") -> None:
        """Remember many segments; their digests stand one after the other. Of those that come twice the
        later one is found. The work is done when it is first asked for, all at once."""
        self._belong_to(archive, owner)
        self._digests += digests
        self._offsets.extend(offsets)

    def _belong_to(self, archive: ArchiveId, owner: bytes) -> None:
        if not self._whose or self._whose[-1] != (archive, owner):
            self._begins.append(len(self))
            self._whose.append((archive, owner))

    def _hang(self, rows: int) -> None:
        # In parts: a copy of all digests would double the memory.
        step = DIGEST_BYTES << 14
        parts = range(0, len(self._digests), step)
        words = chain.from_iterable(_words(self._digests[at : at + step]) for at in parts)
        self._chains.rebuild(words, len(self), rows)


def _words(digests: bytes | bytearray) -> array[int]:
    """The first four bytes of each digest, as numbers."""
    words = array("I")
    words.frombytes(digests)
    return words[:: DIGEST_BYTES // 4]
