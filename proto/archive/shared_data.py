"""What several mailboxes have, on its way into an archive whose mailboxes are erasable one by one.

It lies in blocks of its own, under keys that belong to none of them (FORMAT.md, "Mailboxes apart"). It comes
in between what is of the mailbox that is being written, piece by piece: so it is gathered, and lies at an
offset that only stands for it, until it is written.
"""

from __future__ import annotations

from bisect import bisect_right

from .framing import BlockWriter

PENDING = 1 << 62
"""Offsets from here on stand for others: no archive has as much data."""

MOST_BYTES = 4 << 20


class SharedData:
    """The segments gathered since the last ``settle``, and where those before lie among the blocks."""

    def __init__(self, blocks: BlockWriter) -> None:
        self._blocks = blocks
        self._size_bytes = 0
        self._segments: list[bytes] = []
        self._next = PENDING
        # Runs of what was written: where each begins, as it was and as it is.
        self._pending: list[int] = []
        self._settled: list[int] = []

    def append(self, data: bytes | memoryview) -> int:
        """Gather a segment; returns what stands for its offset."""
        if self._size_bytes + len(data) > MOST_BYTES:
            self.settle()
        offset = self._next
        self._segments.append(bytes(data))
        self._next += len(data)
        self._size_bytes += len(data)
        return offset

    def settle(self) -> None:
        """Write what was gathered, one segment behind the other, into blocks of its own."""
        if not self._size_bytes:
            return
        self._blocks.flush()
        first, *others = self._segments
        self._pending.append(self._next - self._size_bytes)
        self._settled.append(self._blocks.append(first))
        for one in others:
            self._blocks.append(one)
        self._blocks.flush()
        self._segments.clear()
        self._size_bytes = 0
        self._next += 1  # what comes next does not lie behind this

    def settled(self, offset: int) -> int:
        """The offset of data that was written; any other one as it is."""
        if offset < PENDING:
            return offset
        run = bisect_right(self._pending, offset) - 1
        if run < 0 or offset >= self._next - self._size_bytes:
            return offset
        return self._settled[run] + offset - self._pending[run]
