"""Whole frames in the order of their archive: checked before they are written, cut into batches to be sent.

Owns nothing of sockets and files.
"""

from __future__ import annotations

from ...proto.archive import frames
from ...proto.archive.frames import HEADER_BYTES, FrameType
from ...proto.errors import DamagedError
from ...proto.records import ArchiveId
from ...proto.structs import Record


class FrameChain(Record):
    """The frames with which an archive begins: so many ``frames`` of ``owner`` (None: there is none yet)."""

    owner: ArchiveId | None = None
    frames: int = 0

    def extended(self, data: bytes | memoryview, where: str) -> FrameChain:
        """The chain with whole frames behind it, one or more. Raises DamagedError unless each belongs to the
        archive, follows the one before it, and matches its checksum."""
        view = memoryview(data)
        owner, number, at = self.owner, self.frames, 0
        while at < len(view):
            header = frames.decode_header(bytes(view[at : at + HEADER_BYTES]), where, owner)
            if header.sequence != number or (number == 0 and header.type is not FrameType.HEADER):
                raise DamagedError(f"{where}: a frame out of its order", reason="sequence")
            at += HEADER_BYTES + header.stored_bytes
            if at > len(view):
                raise DamagedError(f"{where}: the data ends inside a frame", reason="truncated")
            if frames.checksum(view[at - header.stored_bytes : at]) != header.checksum:
                raise DamagedError(f"{where}: the checksum of a frame does not match", reason="checksum")
            owner, number = header.archive, number + 1
        return FrameChain(owner, number)


class FrameBatches:
    """Gathers what a writer writes, in runs of bytes as they come, into batches of whole frames.

    A batch has about ``batch_bytes``; it has more where its last frame goes beyond that.
    """

    def __init__(self, batch_bytes: int) -> None:
        self._batch_bytes = batch_bytes
        self._parts: list[bytes] = []
        self._whole_parts = 0
        self._size = 0
        self.whole_bytes = 0
        self._missing = 0
        self._head = b""

    @property
    def full(self) -> bool:
        """Whether the frames that are whole make a batch."""
        return self.whole_bytes >= self._batch_bytes

    @property
    def partial(self) -> bool:
        """Whether the last frame is not whole yet."""
        return self._size > self.whole_bytes or bool(self._head)

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Take in a run of bytes; kept as they are now. Raises DamagedError where a frame should begin but
        does not."""
        kept = data if isinstance(data, bytes) else bytes(data)
        while kept:
            if not self._missing:
                kept = self._begin_frame(kept)
                continue
            part, kept = (kept, b"") if len(kept) <= self._missing else self._split(kept, self._missing)
            self._missing -= len(part)
            self._keep(part)

    def take(self) -> bytes:
        """All whole frames there are, as one batch; empty where there are none."""
        batch = b"".join(self._parts[: self._whole_parts])
        del self._parts[: self._whole_parts]
        self._size -= self.whole_bytes
        self._whole_parts = self.whole_bytes = 0
        return batch

    def _begin_frame(self, data: bytes) -> bytes:
        head, rest = self._split(data, HEADER_BYTES - len(self._head))
        self._head += head
        if len(self._head) == HEADER_BYTES:
            header, self._head = self._head, b""
            self._missing = frames.decode_header(header, "the archive that is being written").stored_bytes
            self._keep(header)
        return rest

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if not self._missing:
            self._whole_parts, self.whole_bytes = len(self._parts), self._size

    @staticmethod
    def _split(data: bytes, size: int) -> tuple[bytes, bytes]:
        return data[:size], data[size:]
