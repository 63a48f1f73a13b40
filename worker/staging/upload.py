"""What a worker still holds of an archive that it sends: a state machine, apart from sockets.

A batch is held until the receiver has written it, since all that is on its way is lost when a connection is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ...proto.errors import StagingError


class Upload:
    """An archive of which ``written`` bytes are in the staging area and the batches from there to ``end``
    are held. ``granted`` is how far the receiver lets it be sent, ``waiting`` why no further."""

    def __init__(self, size_bytes: int) -> None:
        self.written = self.end = self.granted = size_bytes
        self.waiting = ""
        self.checkpoint = size_bytes
        self._told_checkpoint = size_bytes
        self._sent = size_bytes
        self._held: deque[tuple[int, bytes]] = deque()

    @property
    def is_sent(self) -> bool:
        """Whether all that is held is on its way."""
        return self._sent == self.end

    @property
    def held_bytes(self) -> int:
        """How much memory it takes."""
        return sum(len(batch) for _, batch in self._held)

    def add(self, batch: bytes) -> None:
        """Take over the next whole frames."""
        self._held.append((self.end, batch))
        self.end += len(batch)

    def mark(self, offset: int) -> None:
        """A mailbox ends at this offset."""
        self.checkpoint = offset

    def to_send(self) -> Iterator[tuple[int, memoryview]]:
        """What may be sent now, in order, with its offset; it counts as sent when the next is asked for."""
        for at, batch in list(self._held):
            end = at + len(batch)
            if end <= self._sent:
                continue
            if not self._may_send(end):
                return
            start = self._sent
            yield start, memoryview(batch)[start - at :]
            self._sent = end

    def checkpoint_to_send(self) -> int | None:
        """The end of the last mailbox that is sent as a whole, if it has not been told yet."""
        return self.checkpoint if self._told_checkpoint < self.checkpoint <= self._sent else None

    def checkpoint_sent(self) -> None:
        """It is told."""
        self._told_checkpoint = self.checkpoint

    def credited(self, granted: int, written: int, waiting: str) -> None:
        """The receiver has written so much, and grants so much. Raises StagingError if that can't be."""
        if written > self._sent:
            raise StagingError(f"the receiver tells of {written} bytes, where {self._sent} were sent")
        self.granted, self.waiting = granted, waiting
        self.written = max(self.written, written)
        while self._held and self._held[0][0] + len(self._held[0][1]) <= self.written:
            self._held.popleft()

    def reopened(self, size_bytes: int) -> None:
        """The connection was lost and is back; the receiver has so much, and the rest is to be sent again.
        Raises StagingError if that is not between what was written and the end."""
        if not self.written <= size_bytes <= self.end:
            raise StagingError(
                f"the receiver has {size_bytes} bytes, but {self.written} to {self.end} are held"
            )
        self._sent = self.granted = size_bytes
        self._told_checkpoint = min(self._told_checkpoint, size_bytes)
        self.waiting = ""

    def _may_send(self, end: int) -> bool:
        # A frame that is larger than the window may go alone.
        return end <= self.granted or (self._sent == self.written and not self.waiting)
