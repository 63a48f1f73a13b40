"""Frames, and which of them make an archive, after FORMAT.md, *Frames* and *Several archives in one file*.

Imports nothing of the product. Whole files are in memory: this is a reader for tests.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

import lz4.block
import zstandard

from .columns import Refused
from .mail import digest

MAGIC = b"\x9dMH\x0a"
HEADER, BLOCK, MESSAGES, MAILBOX, INDEX, DIRECTORY, FOOTER, SEARCH = range(1, 9)
_LAYOUT = struct.Struct("<4sBBHII16sQQ16sII")
_LARGEST = 8_388_608


@dataclass(frozen=True)
class Frame:
    """A frame whose header is right; its payload as it is stored."""

    offset: int
    kind: int
    codec: int
    flags: int
    plain: int
    archive: bytes
    sequence: int
    position: int
    checksum: bytes
    slot: int
    stored: bytes
    end: int

    @property
    def whole(self) -> bool:
        """Whether the payload is what was written."""
        return self.end - self.offset - 72 == len(self.stored) and digest(self.stored) == self.checksum

    @property
    def begins_archive(self) -> bool:
        """Whether an archive begins here."""
        return self.kind == HEADER and self.sequence == 0

    def payload(self) -> bytes:
        """The payload, decompressed. Raises Refused."""
        if self.flags or self.slot:
            raise Refused("encrypted, or something of a later version")
        try:
            if self.codec == 0:
                plain = self.stored
            elif self.codec == 1:
                plain = lz4.block.decompress(self.stored, uncompressed_size=self.plain)
            elif self.codec == 2:
                if zstandard.frame_content_size(self.stored) != self.plain:
                    raise Refused("a frame that does not say its size")
                plain = zstandard.ZstdDecompressor().decompress(self.stored, allow_extra_data=False)
            else:
                raise Refused(f"codec {self.codec}")
        except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
            raise Refused(str(error)) from error
        if len(plain) != self.plain:
            raise Refused("a payload of another size")
        return plain


@dataclass
class Part:
    """An archive as it stands in one file: its whole frames, in their order."""

    archive: bytes
    frames: list[Frame] = field(default_factory=list)


def parts_of(data: bytes) -> list[Part]:
    """The archives in a file, one after the other."""
    return _Walk(data).parts()


class _Walk:
    """From the front, frame by frame."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._headers = list(self._found())
        self._offsets = [frame.offset for frame in self._headers]

    def parts(self) -> list[Part]:
        parts: list[Part] = []
        part: Part | None = None
        promised = 0
        frame = self._at(0) or self._next(1, lambda _: True)
        while frame is not None:
            if part is None or frame.archive != part.archive or frame.begins_archive:
                part = Part(frame.archive)
                parts.append(part)
            if frame.whole:
                part.frames.append(frame)
                ended, at = frame.kind == FOOTER, frame.end
            else:
                # Its length is known; if no frame begins behind it, bytes may be missing.
                behind = self._at(frame.end)
                ended, at = False, frame.end if behind else frame.offset + 1
                promised = frame.end
            following = self._at(at)
            if following is None or not (
                ended or following.archive == part.archive or following.begins_archive
            ):
                following = self._resumed(at, part, promised, ended=ended)
            if ended:
                part = None
            frame = following
        return parts

    def _resumed(self, at: int, part: Part, promised: int, *, ended: bool) -> Frame | None:
        """Where to go on when no frame of this archive begins here."""
        if ended:
            return self._next(at, lambda _: True)
        own = self._next(at, lambda one: one.archive == part.archive)
        if own is not None and not own.begins_archive:
            return own
        begins = self._next(at, lambda one: one.begins_archive and not one.end <= promised)
        return begins or self._next(max(at, promised), lambda _: True)

    def _at(self, offset: int) -> Frame | None:
        place = bisect_left(self._offsets, offset)
        if place < len(self._offsets) and self._offsets[place] == offset:
            return self._headers[place]
        return None

    def _next(self, offset: int, wanted: object) -> Frame | None:
        assert callable(wanted)
        later = self._headers[bisect_left(self._offsets, offset) :]
        return next((frame for frame in later if wanted(frame)), None)

    def _found(self) -> Iterator[Frame]:
        """Whatever looks like a frame by its header."""
        at = self._data.find(MAGIC)
        while at >= 0:
            header = self._data[at : at + 72]
            if len(header) == 72 and zlib.crc32(header[:68]) == struct.unpack("<I", header[68:])[0]:
                (_, kind, codec, flags, stored, plain, archive, sequence, position, check, slot, _) = (
                    _LAYOUT.unpack(header)
                )
                if stored <= _LARGEST and plain <= _LARGEST:
                    end = at + 72 + stored
                    yield Frame(
                        offset=at,
                        kind=kind,
                        codec=codec,
                        flags=flags,
                        plain=plain,
                        archive=archive,
                        sequence=sequence,
                        position=position,
                        checksum=check,
                        slot=slot,
                        stored=self._data[at + 72 : end],
                        end=end,
                    )
            at = self._data.find(MAGIC, at + 1)
