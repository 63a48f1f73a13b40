"""Which pieces of a remote file are at hand, which are to be asked for: reading ahead, apart from sockets."""

from __future__ import annotations

from collections import OrderedDict

PIECE_BYTES = 1 << 20
_KEPT = 3
_AHEAD = 3


class Pieces:
    """A file of ``size_bytes`` in pieces of 1 MiB, the last one shorter. Keeps a few that were used last."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._asked: set[int] = set()
        self._needed = range(0)
        self._last = -1

    def need(self, offset: int, length: int) -> None:
        """A stretch is to be read, of at least one byte and within the file."""
        first, last = offset // PIECE_BYTES, (offset + length - 1) // PIECE_BYTES
        forward = first in (self._last, self._last + 1)
        self._last = last
        end = min(last + 1 + (_AHEAD if forward else 0), -(-self.size_bytes // PIECE_BYTES))
        self._needed = range(first, end)

    def to_ask(self) -> list[tuple[int, int]]:
        """Offset and length of each piece that is needed and was not asked for."""
        new = [number for number in self._needed if number not in self._held and number not in self._asked]
        return [(number * PIECE_BYTES, self._length(number)) for number in new]

    def asked(self, offset: int) -> None:
        """The piece at this offset was asked for."""
        self._asked.add(offset // PIECE_BYTES)

    def arrived(self, offset: int, data: bytes) -> bool:
        """A piece is here; False if it is not what was asked for."""
        number, beside = divmod(offset, PIECE_BYTES)
        if beside or number not in self._asked or len(data) != self._length(number):
            return False
        self._asked.remove(number)
        self._held[number] = data
        for old in list(self._held):
            if len(self._held) <= _KEPT + len(self._needed):
                break
            if old not in self._needed:
                del self._held[old]
        return True

    def lost(self) -> None:
        """What was asked for will not come: it is to be asked for again."""
        self._asked.clear()

    def read(self, offset: int, length: int) -> bytes | None:
        """The stretch, if all of it is at hand."""
        first, last = offset // PIECE_BYTES, (offset + length - 1) // PIECE_BYTES
        if any(number not in self._held for number in range(first, last + 1)):
            return None
        for number in range(first, last + 1):
            self._held.move_to_end(number)
        start = offset - first * PIECE_BYTES
        if first == last:
            return self._held[first][start : start + length]
        return b"".join(self._held[number] for number in range(first, last + 1))[start : start + length]

    def _length(self, number: int) -> int:
        return min(PIECE_BYTES, self.size_bytes - number * PIECE_BYTES)
