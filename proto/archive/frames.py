"""Frames: the unit of writing and of checking. A fixed header with a checksum of its own, then the payload.

Owns the bytes of a frame and nothing of what a payload means. FORMAT.md, "Frames", is the specification.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import NamedTuple

import lz4.block
import zstandard
from blake3 import blake3

from ..errors import DamagedError, UnsupportedError
from ..records import ArchiveId

MAGIC = b"\x9dMH\n"
_LAYOUT = struct.Struct("<4sBBHII16sQQ16sI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _LAYOUT.size + _CRC.size

LARGEST_FRAME = 8 << 20
"""No payload is larger, stored or plain; a reader refuses it before it allocates anything."""


SEALED = 1
"""Flag of a frame: its payload is encrypted."""
AUTHENTICATED = 2
"""Flag of a frame: its payload is in clear, with a tag behind it."""


class FrameType(IntEnum):
    """What a payload is. A retired number is never used again."""

    HEADER = 1
    BLOCK = 2
    MESSAGES = 3
    MAILBOX = 4
    INDEX = 5
    DIRECTORY = 6
    FOOTER = 7
    SEARCH = 8
    DEPARTED = 9
    FOLDERS = 10
    KEYS = 11
    LATER = 0x80
    """Not written: stands for what a later version writes. Types from here on are optional."""
    RUN = 0x89
    UNCHANGED = 0x8B


class Codec(IntEnum):
    """How a payload is compressed."""

    NONE = 0
    LZ4 = 1
    ZSTD = 2


# A lookup is much quicker than making an enum's member of a number.
_TYPES: dict[int, FrameType] = {one.value: one for one in FrameType if one is not FrameType.LATER}
_CODECS = {one.value: one for one in Codec}


class FrameHeader(NamedTuple):
    """The decoded header of a frame. ``archive`` is the one that it belongs to: random and not known
    before, so that mail which looks like a frame is none. ``position`` is the data offset of a block, what
    ``mailbox_position`` says for MESSAGES, SEARCH, FOLDERS and MAILBOX, else 0. ``slot`` is the number of its
    keys where a flag is set, else 0."""

    type: FrameType
    codec: Codec
    stored_bytes: int
    plain_bytes: int
    archive: ArchiveId
    sequence: int
    position: int
    checksum: bytes
    flags: int = 0
    slot: int = 0


class Compressor:
    """Compresses payloads with one codec. Not to be shared between threads."""

    def __init__(self, codec: Codec, level: int = 3) -> None:
        self.codec = codec
        self._zstd = zstandard.ZstdCompressor(level=level) if codec is Codec.ZSTD else None

    def compress(self, data: bytes | bytearray | memoryview) -> tuple[Codec, bytes | bytearray | memoryview]:
        """The stored form: compressed, or as it is where that is not smaller."""
        if self.codec is Codec.LZ4:
            packed: bytes = lz4.block.compress(data, store_size=False)
        elif self._zstd is not None:
            packed = self._zstd.compress(data)
        else:
            return Codec.NONE, data
        return (self.codec, packed) if len(packed) < len(data) else (Codec.NONE, data)


def mailbox_position(mailbox: int, number: int) -> int:
    """The position in the header of a mailbox's MESSAGES frame, of which ``number`` come before it, of the
    SEARCH frame behind it, and of its MAILBOX frame after all of them; of its FOLDERS frame, of which so many
    come before it."""
    return mailbox << 32 | number


def checksum(payload: bytes | bytearray | memoryview) -> bytes:
    """The checksum of a stored payload: the first 16 bytes of its BLAKE3 hash."""
    return blake3(payload).digest(length=16)


def encode_header(
    kind: FrameType,
    codec: Codec,
    payload: bytes | bytearray | memoryview,
    plain_bytes: int,
    archive: ArchiveId,
    sequence: int,
    position: int = 0,
) -> bytes:
    """The header that goes before a stored payload."""
    return pack_header(
        FrameHeader(kind, codec, len(payload), plain_bytes, archive, sequence, position, checksum(payload))
    )


def pack_header(header: FrameHeader) -> bytes:
    """A header whose fields are known, for a payload that is copied as it is stored."""
    fields = _LAYOUT.pack(
        MAGIC,
        header.type,
        header.codec,
        header.flags,
        header.stored_bytes,
        header.plain_bytes,
        header.archive,
        header.sequence,
        header.position,
        header.checksum,
        header.slot,
    )
    return fields + _CRC.pack(zlib.crc32(fields))


def decode_header(data: bytes, where: str, owner: ArchiveId | None = None) -> FrameHeader:
    """Read a header. ``where`` names the place for messages, ``owner`` the archive that the frame must
    belong to, where that is known.

    Raises DamagedError if it is not whole, UnsupportedError if it needs what this version lacks.
    """
    header, lacks = decode_any_header(data, where, owner)
    if lacks:
        raise UnsupportedError(lacks)
    return header


def decode_any_header(data: bytes, where: str, owner: ArchiveId | None = None) -> tuple[FrameHeader, str]:
    """Read a header, also of a frame that a later version wrote: its type is LATER then, its codec NONE. The
    second value tells what of it this version lacks; it is empty also for one of an optional type, which is
    to be passed over. Raises DamagedError if the header is not whole."""
    if len(data) != HEADER_BYTES:
        raise DamagedError(f"{where}: the file ends inside a frame header", reason="truncated")
    fields = data[: _LAYOUT.size]
    if data[:4] != MAGIC or zlib.crc32(fields) != _CRC.unpack_from(data, _LAYOUT.size)[0]:
        raise DamagedError(f"{where}: no valid frame header", reason="frame-header")
    _, kind, codec, flags, stored, plain, archive, sequence, position, digest, slot = _LAYOUT.unpack(fields)
    if owner not in (None, archive):
        raise DamagedError(f"{where}: a frame of another archive", reason="foreign")
    if max(stored, plain) > LARGEST_FRAME:
        raise DamagedError(f"{where}: a frame of {max(stored, plain)} bytes is not possible", reason="length")
    lacks = ""
    known_type, known_codec = _TYPES.get(kind), _CODECS.get(codec)
    is_known = flags in (0, SEALED, AUTHENTICATED) and (flags > 0) == (slot > 0)
    if known_type is None or known_codec is None or not is_known:
        known_type, known_codec = FrameType.LATER, Codec.NONE
        if kind < FrameType.LATER:
            lacks = f"{where}: the frame needs a later version: type {kind}, codec {codec}, flags {flags:#x}"
    found = ArchiveId(archive)
    return (
        FrameHeader(known_type, known_codec, stored, plain, found, sequence, position, digest, flags, slot),
        lacks,
    )


def authenticated(header: FrameHeader) -> bytes:
    """The bytes of a header that an encrypted payload is bound to: all that says what it is, wherever it
    stands in the file."""
    packed = pack_header(header)
    return packed[4:8] + packed[12:32] + packed[40:48] + packed[64:68]


def check_payload(header: FrameHeader, stored: bytes | bytearray | memoryview, where: str) -> None:
    """Raises DamagedError unless a stored payload is the one of this header."""
    if len(stored) != header.stored_bytes:
        raise DamagedError(f"{where}: the file ends inside a frame", reason="truncated")
    if checksum(stored) != header.checksum:
        raise DamagedError(f"{where}: the checksum of the frame does not match", reason="checksum")
