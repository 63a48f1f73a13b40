"""What has been stored already in this group: from the digest of a segment to where it lies.

A compact open-addressing table over flat arrays, so that millions of segments fit: a dict of byte
strings would take several times the memory. What is worth remembering is decided in ``segments``.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ..proto.records import DIGEST_BYTES

_SMALLEST = 1 << 12


class SegmentIndex:
    """Digest -> offset in the data of the archive that is being written."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._offsets = array("Q")
        self._slots = array("I", bytes(4 * _SMALLEST))  # 0: free, else number + 1
        self._mask = _SMALLEST - 1

    def __len__(self) -> int:
        return len(self._offsets)

    def find(self, digest: bytes) -> int | None:
        """The offset of the segment with this digest, or None."""
        slots, digests, mask = self._slots, self._digests, self._mask
        slot = int.from_bytes(digest[:8], "little") & mask
        while number := slots[slot]:
            at = number * DIGEST_BYTES
            if digests[at - DIGEST_BYTES : at] == digest:
                return self._offsets[number - 1]
            slot = (slot + 1) & mask
        return None

    def add(self, digest: bytes, offset: int) -> None:
        """Remember a segment that ``find`` did not know."""
        if 3 * len(self._offsets) >= 2 * self._mask:
            self._grow()
        self._digests += digest
        self._offsets.append(offset)
        self._place(digest, len(self._offsets))

    def extend(self, digests: bytes, offsets: Sequence[int]) -> None:
        """Remember many segments that ``find`` did not know; their digests stand one after the other."""
        for number, offset in enumerate(offsets):
            self.add(digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES], offset)

    def _place(self, digest: bytes, number: int) -> None:
        slots, mask = self._slots, self._mask
        slot = int.from_bytes(digest[:8], "little") & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot] = number

    def _grow(self) -> None:
        size = 2 * (self._mask + 1)
        self._slots = array("I", bytes(4 * size))
        self._mask = size - 1
        for number in range(len(self._offsets)):
            self._place(bytes(self._digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]), number + 1)
