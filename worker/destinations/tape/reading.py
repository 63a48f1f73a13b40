"""An archive on tape, read as a file: forward without moving the tape, and anywhere by moving it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....proto.errors import DamagedError, PlaceError
from ....proto.structs import Record
from .contents import Entry
from .drive import Drive


class Placed(Record):
    """A part of an archive, and the volume that it is on."""

    volume: str
    record_bytes: int
    entry: Entry


Mount = Callable[[str], Drive]
"""The drive in which a volume is, by its UUID; raises NotYetError if it has to be brought."""


class TapedFile:
    """A RandomAccess over an archive on one volume or several. It keeps the record that was read last, so
    small reads one behind the other move nothing."""

    def __init__(self, name: str, parts: Sequence[Placed], mount: Mount) -> None:
        self.name = name
        self.size = parts[0].entry.size_bytes
        self._parts = parts
        self._mount = mount
        self._kept: tuple[Placed, int, bytes] | None = None

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess; and what a volume that is not there raises."""
        if offset < 0:
            return b""
        pieces = []
        end = min(offset + length, self.size)
        while offset < end:
            piece = self._piece(offset)[: end - offset]
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """See RandomAccess."""
        self._kept = None

    def _piece(self, offset: int) -> bytes:
        """What is in one record from an offset on."""
        part = next(
            part
            for part in self._parts
            if part.entry.offset_bytes <= offset < part.entry.offset_bytes + part.entry.bytes
        )
        number, within = divmod(offset - part.entry.offset_bytes, part.record_bytes)
        record = self._record(part, part.entry.block + 1 + number)
        in_part = part.entry.bytes - number * part.record_bytes
        return record[within : min(part.record_bytes, in_part)]

    def _record(self, part: Placed, block: int) -> bytes:
        kept = self._kept
        if kept and kept[0] is part and kept[1] == block:
            return kept[2]
        record = self._read(self._mount(part.volume), part, block)
        self._kept = (part, block, record)
        return record

    def _read(self, drive: Drive, part: Placed, block: int) -> bytes:
        where = f"{self.name}: block {block} of volume {part.volume}"
        try:
            if drive.position() != block:
                drive.locate(block)
            record = drive.read_record()
        except DamagedError as error:
            raise DamagedError(f"{where}: {error.message}", reason="io-error") from error
        except PlaceError as error:
            if error.retryable:
                raise
            raise DamagedError(f"{where}: {error.message}", reason="io-error") from error
        if not isinstance(record, bytes) or len(record) != part.record_bytes:
            raise DamagedError(f"{where} is no record of {part.record_bytes} bytes", reason="io-error")
        return record
