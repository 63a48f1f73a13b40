"""Frames written one after the other into a sink, and the blocks of data among them.

Owns where a frame lies and which number it has; what stands in it is ``writer``'s business.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from blake3 import blake3

from ..keys.records import KeySlots
from ..ports import ArchiveSink
from ..records import ArchiveId, Stretch
from . import frames, slots
from .codec import PLAIN, FrameCodec, Stored, counter_of
from .contents import Seal
from .frames import Codec, FrameType
from .places import BlockTable, FramePlace

BLOCK_BYTES = 256 << 10

_SMALL_BYTES = 16 << 10
"""A payload up to this size is written together with its header: to copy it costs less than a write."""


NO_CHAIN = bytes(32)
"""Where the chain of an archive begins."""


def chained(chain: bytes, header: bytes) -> bytes:
    """The chain after a frame with this packed header."""
    return blake3(chain + header).digest()


class FrameWriter:
    """Writes frames of one archive. ``size_bytes`` and ``frames`` are what was written so far, ``chain`` is
    made of the headers of an encrypted one, ``used`` are the slots of earlier attempts and generations with
    a number above the counters of their frames (FORMAT.md, "The end of an encrypted archive")."""

    def __init__(self, sink: ArchiveSink, archive: ArchiveId, codec: FrameCodec = PLAIN) -> None:
        self._sink = sink
        self._codec = codec
        self._archive = archive
        # Metadata has little but entropy to give: the entropy coder halves it where LZ4 would not.
        self._compressor = frames.Compressor(Codec.ZSTD)
        self.size_bytes = self.frames = 0
        self._told_slots = 0  # the greatest number of those that a KEYS frame has told of
        self._earlier_slots = codec.key_slots.last  # the greatest number of those that others have opened
        self.used: dict[int, int] = {}
        self.chain = NO_CHAIN

    def packed(
        self, kind: FrameType, payload: bytes, position: int = 0, bound: bytes = b"", owner: bytes = b""
    ) -> Stored:
        """A frame of metadata, ready to be copied; ``bound`` and ``owner``: see FrameCodec."""
        self._open_for(owner)
        return self._codec.pack(kind, self._archive, self._compressor, payload, position, bound, owner)

    def metadata(
        self, kind: FrameType, payload: bytes, *, position: int = 0, owner: bytes = b""
    ) -> FramePlace:
        """A frame whose payload is compressed as metadata is; returns where it lies."""
        return self.copy(self.packed(kind, payload, position, owner=owner))

    def compressed(
        self,
        kind: FrameType,
        compressor: frames.Compressor | None,
        payload: bytes | memoryview,
        position: int = 0,
        owner: bytes = b"",
    ) -> FramePlace:
        """A frame whose payload is compressed like this, or not at all; returns where it lies. ``owner``: see
        FrameCodec."""
        self._renew_keys(kind)
        self._open_for(owner)
        return self.copy(self._codec.pack(kind, self._archive, compressor, payload, position, b"", owner))

    def write_keys(self) -> None:
        """The slots of the archive, as far as there are any."""
        self._write_keys(self._codec.key_slots)

    def write_new_keys(self) -> None:
        """Those that no KEYS frame has told of yet."""
        self._write_keys(self._codec.slots_after(self._told_slots))

    def _write_keys(self, told: KeySlots) -> None:
        self._told_slots = told.last
        self.copy(self._codec.pack(FrameType.KEYS, self._archive, None, slots.encode(told)))

    def _open_for(self, owner: bytes) -> None:
        if owner and self._codec.open_for(owner):
            self.write_new_keys()

    def seal(self) -> Seal:
        """What is said of an encrypted archive by the DIRECTORY frame that comes next, the last one."""
        keys = blake3(slots.encode(self._codec.key_slots)).digest()
        return Seal(self.chain, self.size_bytes, self.frames, keys, tuple(self._used_before()))

    def _used_before(self) -> Iterator[tuple[int, int]]:
        """The slots that earlier attempts and generations have opened, and what is above all their counters.
        Those of other archives are not bound to this one."""
        found = slots.up_to(self._codec.key_slots, self._earlier_slots)
        numbers = [one.number for one in found.wrapped] + [mailbox.number for mailbox in found.mailboxes]
        for number in sorted(numbers):
            slot = self._codec.wrapped(number)
            if slot is not None and slot.archive == self._archive:
                yield number, self.used.get(number, 0)

    def _renew_keys(self, kind: FrameType) -> None:
        """Open another slot if no more is to be encrypted with the last one. Nearly all are blocks."""
        if kind is FrameType.BLOCK and self._codec.is_spent:
            self._codec.open_slot()
            self.write_keys()

    def copy(self, stored: Stored, position: int | None = None, slot: int | None = None) -> FramePlace:
        """A frame that is stored already, perhaps elsewhere, at another ``position`` there and with keys that
        are those of this ``slot`` here: its payload is neither decompressed nor checked again. Returns where
        it lies. ValueError for one that is bound to where it was."""
        header, payload = stored
        at = self.size_bytes
        moved = header._replace(
            archive=self._archive,
            sequence=self.frames,
            position=header.position if position is None else position,
            slot=header.slot if slot is None else slot,
        )
        is_bound = header.flags and header.type is not FrameType.SEARCH
        if is_bound and frames.authenticated(moved) != frames.authenticated(header):
            raise ValueError(f"a {header.type.name} frame can't be moved")
        if moved.flags and moved.slot <= self._earlier_slots:
            self.used[moved.slot] = max(self.used.get(moved.slot, 0), counter_of(stored) + 1)
        packed = frames.pack_header(moved)
        if len(payload) <= _SMALL_BYTES:
            self._sink.write(packed + payload)
        else:
            self._sink.write(packed)
            self._sink.write(payload)
        self.size_bytes = at + frames.HEADER_BYTES + len(payload)
        self.frames += 1
        if self._codec.seals:
            self.chain = chained(self.chain, packed)
        return FramePlace(at, self.size_bytes - at)


class BlockWriter:
    """Cuts data into blocks and writes these. ``data_bytes`` is where the data ends so far."""

    def __init__(self, out: FrameWriter, compressor: frames.Compressor) -> None:
        self._out = out
        self._compressor = compressor
        self._block = bytearray()
        self._owner = b""
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

    def append(self, data: bytes | memoryview, owner: bytes = b"") -> int:
        """Store data; returns its offset. A piece of up to half a block lies in one block, and what is of
        another ``owner`` (see FrameCodec) in another one."""
        if owner != self._owner:
            self.flush()
            self._owner = owner
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
            place = self._out.compressed(FrameType.BLOCK, self._compressor, data, start, self._owner)
            self._note(start, place)
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
