"""How a file is cut into the parts of an upload, and read once: each part, and the digest of all."""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from ....proto.archive.files import RandomAccess
from ..copying import piece_of

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
    """The parts of a file one after the other. ``digest`` is that of what was read."""

    def __init__(self, source: RandomAccess) -> None:
        self._source = source
        self._hashed = blake3()

    def parts(self, length: int) -> Iterator[bytes]:
        """All of the file, in parts of this length and a rest. Raises DamagedError if it ends early."""
        at = 0
        while at < self._source.size:
            part = self._part(at, min(length, self._source.size - at))
            at += len(part)
            yield part

    def whole(self) -> bytes:
        """All of a file that fits into one part."""
        return b"".join(self.parts(USUAL_PART_BYTES))

    @property
    def digest(self) -> bytes:
        """The BLAKE3 digest of all that was read."""
        return self._hashed.digest()

    def _part(self, at: int, length: int) -> bytes:
        pieces: list[bytes] = []
        while length:
            piece = piece_of(self._source, at)[:length]
            self._hashed.update(piece)
            pieces.append(piece)
            at += len(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
