"""How a file is cut into the parts of an upload, and read once: each part, and the digest of all."""

from __future__ import annotations

from blake3 import blake3

from ....proto.archive.files import RandomAccess
from ..copying import PIECE_BYTES, piece_of

_MIB = 1 << 20
USUAL_PART_BYTES = 8 * _MIB
MOST_PARTS = 10_000
"""More than these no server takes; the least it takes is 5 MiB each."""

AT_HAND_BYTES = 96 * _MIB
"""So much is in memory at once, of all parts that are on their way."""


def part_bytes(size_bytes: int) -> int:
    """How long the parts of a file of this size are: always the same for the same size."""
    needed = -(-size_bytes // MOST_PARTS)
    return max(USUAL_PART_BYTES, -(-needed // _MIB) * _MIB)


def on_their_way(part: int, threads: int) -> int:
    """How many parts may be sent at the same time, so that they fit into memory: fewer of large ones."""
    return max(1, min(threads, AT_HAND_BYTES // part - 1))


class ReadOnce:
    """A file that is read once, from its beginning to its end. ``digest`` is that of what was read."""

    def __init__(self, source: RandomAccess) -> None:
        self._source = source
        self._hashed = blake3()
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are still to be read."""
        return self._source.size - self._at

    def fill(self, buffer: bytearray) -> bytes | bytearray:
        """The next bytes, in a buffer that they fill, or the rest of them. Raises DamagedError if the file
        ends early."""
        wanted = min(len(buffer), self.left)
        there = 0
        while there < wanted:
            piece = piece_of(self._source, self._at)[: wanted - there]
            self._hashed.update(piece)
            buffer[there : there + len(piece)] = piece
            there += len(piece)
            self._at += len(piece)
            del piece  # or there are two of them while the next one is read
        return buffer if wanted == len(buffer) else bytes(memoryview(buffer)[:wanted])

    @property
    def digest(self) -> bytes:
        """The BLAKE3 digest of all that was read."""
        return self._hashed.digest()


def digest_of(source: RandomAccess) -> bytes:
    """The BLAKE3 digest of all of a file."""
    reading = ReadOnce(source)
    buffer = bytearray(min(source.size, PIECE_BYTES))
    while reading.left:
        reading.fill(buffer)
    return reading.digest
