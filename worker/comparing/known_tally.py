"""What was stored of one folder, while the folder is compared with it: looked up by position, and which of it
has been met again."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from ...proto.archive.messages import MessageRows
from ...proto.archive.pointers import FramePointer
from ...proto.errors import DamagedError
from ...proto.records import Listed, Message, Terms
from .known import KnownMessages
from .matching import UNKNOWN, KnownRows

_FEW = 8
"""Messages fewer than their frame holds by this factor are gathered until there are more: else a folder in
another order would have a frame read for each message."""


class KnownTally:
    """What was stored of a folder, and which of it has been met again; ``stored`` is None if nothing was."""

    def __init__(self, stored: KnownMessages | None) -> None:
        self.stored = stored
        self.rows = KnownRows(stored)
        self._met = bytearray(stored.count if stored else 0)

    def meet(self, position: int, count: int = 1) -> None:
        """These messages are there still."""
        self._met[position : position + count] = b"\1" * count

    @property
    def vanished(self) -> int:
        """How many messages have not been met."""
        return self._met.count(0)

    def unmet(self) -> Iterator[tuple[int, tuple[Message, Terms | None]]]:
        """The messages that have not been met, with their positions, and what they can be found by."""
        return self.messages([position for position, met in enumerate(self._met) if not met])

    def met(self) -> Iterator[tuple[bytes, int]]:
        """The lasting names and inodes of the messages that were met."""
        for ordinal in range(len(self.stored.frames) if self.stored else 0):
            found = self.rows.frame(ordinal)
            if found is not None:
                first, names = found
                for row, one in enumerate(zip(names.base, names.inode, strict=True)):
                    if self._met[first + row : first + row + 1] == b"\1":
                        yield one

    def stored_rows(
        self, position: int, called: Sequence[Listed]
    ) -> tuple[MessageRows, int, Sequence[Terms | None]] | None:
        """The messages with these lasting names, which were stored one after the other in one frame: the
        frame, the row of the first, and what they can be found by. None if that is not so, or they can't be
        read; or if they are so few that a frame should not be read for them."""
        if position == UNKNOWN or self.stored is None:
            return None
        ordinal, row = self.rows.place(position)
        frame, end = self.stored.frames[ordinal], row + len(called)
        if not self.stored.remembers(frame) and len(called) * _FEW < self.rows.size(ordinal):
            return None
        try:
            rows = self.stored.rows(frame)
            rows.check()
        except DamagedError:
            return None
        # Two names may share a hash; and without one nothing can be taken over.
        bases = [listed.base for listed in called]
        if not all(bases) or bases != rows.names.base[row:end]:
            return None
        called_so = frame._replace(first=frame.first + row, messages=len(called))
        return rows, row, self.stored.terms(called_so)

    def pointer(self, position: int) -> FramePointer:
        """Where the message at a position that is known is told of. Raises DamagedError."""
        if self.stored is None:
            raise ValueError("nothing was stored of this folder")
        ordinal, row = self.rows.place(position)
        return self.stored.part(self.stored.frames[ordinal], row, 1)

    def messages(self, positions: Iterable[int]) -> Iterator[tuple[int, tuple[Message, Terms | None]]]:
        """The messages at these positions, and what they can be found by; a frame of them is decoded once.
        What is damaged is left out."""
        stored, rows = self.stored, self.rows
        wanted = sorted({one for one in positions if one != UNKNOWN})
        at = 0
        while stored is not None and at < len(wanted):
            ordinal, row = rows.place(wanted[at])
            first = wanted[at] - row
            frame = stored.frames[ordinal]
            try:
                found = stored.messages(frame)
            except DamagedError:
                found = []
            end = bisect_left(wanted, first + max(1, len(found)), at + 1)
            terms = stored.terms(frame) if found else ()
            for position in wanted[at:end]:
                if position - first < len(found):
                    yield position, (found[position - first], terms[position - first])
            at = end
