"""Frames written one after the other into a sink, and the blocks of data among them.

Owns where a frame lies and which number it has; what stands in it is ``writer``'s business.
"""

from __future__ import annotations

from array import array

from ..ports import ArchiveSink
from ..records import ArchiveId, Stretch
from . import frames
from .codec import PLAIN, FrameCodec, Stored
from .frames import Codec, FrameType
from .places import BlockTable, FramePlace

BLOCK_BYTES = 256 << 10

_SMALL_BYTES = 16 << 10
"""A payload up to this size is written together with its header: to copy it costs less than a write."""


class FrameWriter:
    """Writes frames of one archive. ``size_bytes`` and ``frames`` are what was written so far."""

    def __init__(self, sink: ArchiveSink, archive: ArchiveId, codec: FrameCodec = PLAIN) -> None:
        self._sink = sink
        self._codec = codec
        self._archive = archive
        # Metadata has little but entropy to give: the entropy coder halves it where LZ4 would not.
        self._compressor = frames.Compressor(Codec.ZSTD)
        self.size_bytes = self.frames = 0

    def packed(self, kind: FrameType, payload: bytes) -> Stored:
        """A frame of metadata, ready to be copied; it belongs nowhere yet."""
        return self._codec.pack(kind, self._archive, self._compressor, payload)

    def metadata(self, kind: FrameType, payload: bytes, *, position: int = 0) -> FramePlace:
        """A frame whose payload is compressed as metadata is; returns where it lies."""
        return self.copy(self.packed(kind, payload), position)

    def compressed(
        self,
        kind: FrameType,
        compressor: frames.Compressor | None,
        payload: bytes | memoryview,
        position: int = 0,
    ) -> FramePlace:
        """A frame whose payload is compressed like this, or not at all; returns where it lies."""
        return self.copy(self._codec.pack(kind, self._archive, compressor, payload), position)

    def copy(self, stored: Stored, position: int) -> FramePlace:
        """A frame that is stored already, elsewhere: its payload is neither decompressed nor checked again.
        Returns where it lies."""
        header, payload = stored
        at = self.size_bytes
        header = header._replace(archive=self._archive, sequence=self.frames, position=position)
        packed = frames.pack_header(header)
        if len(payload) <= _SMALL_BYTES:
            self._sink.write(packed + payload)
        else:
            self._sink.write(packed)
            self._sink.write(payload)
        self.size_bytes = at + frames.HEADER_BYTES + len(payload)
        self.frames += 1
        return FramePlace(at, self.size_bytes - at)


class BlockWriter:
    """Cuts data into blocks and writes these. ``data_bytes`` is where the data ends so far."""

    def __init__(self, out: FrameWriter, compressor: frames.Compressor) -> None:
        self._out = out
        self._compressor = compressor
        self._block = bytearray()
        self._data = array("Q")
        self._file = array("Q")
        self._size = array("I")
        self._holes: list[Stretch] = []
        self.data_bytes = 0

    def go_on(self, table: BlockTable, data_bytes: int) -> None:
        """Begin behind these blocks."""
        self._data.extend(table.data)
        self._file.extend(table.file)
        self._size.extend(table.size)
        self.data_bytes = data_bytes

    def append(self, data: bytes | memoryview) -> int:
        """Store data; returns its offset. A piece of up to half a block lies in one block."""
        block, size = self._block, len(data)
        if len(block) + size > BLOCK_BYTES and len(block) > BLOCK_BYTES // 2:
            self.flush()
        offset = self.data_bytes
        block += data
        self.data_bytes = offset + size
        while len(block) >= BLOCK_BYTES:
            self.flush()
        return offset

    def copy(self, stored: Stored) -> None:
        """Store a whole block that is stored elsewhere, as it is."""
        self.flush()
        self._note(self.data_bytes, self._out.copy(stored, self.data_bytes))
        self.data_bytes += stored[0].plain_bytes

    def leave_out(self, size: int) -> None:
        """So many bytes are not there: a hole. Repeatable."""
        self.flush()
        if size:
            last = self._holes[-1] if self._holes else None
            if last is not None and last.offset + last.length == self.data_bytes:
                self._holes[-1] = Stretch(last.offset, last.length + size)
            else:
                self._holes.append(Stretch(self.data_bytes, size))
            self.data_bytes += size

    def flush(self) -> None:
        """Write the block that is being filled, up to the size of one."""
        block = self._block
        if not block:
            return
        with memoryview(block) as whole:
            data = whole[:BLOCK_BYTES]
            start = self.data_bytes - len(block)
            self._note(start, self._out.compressed(FrameType.BLOCK, self._compressor, data, start))
            data.release()
        del block[:BLOCK_BYTES]

    def _note(self, start: int, place: FramePlace) -> None:
        self._data.append(start)
        self._file.append(place.at)
        self._size.append(place.size_bytes)

    def table(self) -> BlockTable:
        """Where all blocks lie; nothing may be added after this."""
        return BlockTable(data=self._data, file=self._file, size=self._size)

    def holes(self) -> tuple[Stretch, ...]:
        """What was left out, ascending."""
        return tuple(self._holes)
