"""Payloads to frames and back: the place where compression is, and where encryption will be.

Docs/decisions/0016-encryption.md tells what a key has to do with it.
"""

from __future__ import annotations

import threading

import lz4.block
import zstandard

from ..errors import DamagedError
from ..records import ArchiveId
from . import frames
from .frames import Codec, Compressor, FrameHeader, FrameType

Stored = tuple[FrameHeader, bytes | bytearray | memoryview]
"""A frame as it is stored, whose header may still say another place."""


class _Decompressor(threading.local):
    """To make one takes longer than to decompress a small frame."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


class FrameCodec:
    """What turns a payload into what is stored of it, and back; the same for all that read and write an
    archive. It may be shared between threads."""

    def __init__(self) -> None:
        self._of_this_thread = _Decompressor()

    def pack(
        self,
        kind: FrameType,
        archive: ArchiveId,
        compressor: Compressor | None,
        payload: bytes | memoryview,
    ) -> Stored:
        """A frame whose payload is compressed like this, or not at all; it belongs nowhere yet. Raises
        OverflowError for a payload that no frame can hold."""
        if len(payload) > frames.LARGEST_FRAME:
            raise OverflowError(f"a {kind.name} frame of {len(payload)} bytes is beyond the format")
        codec, stored = (Codec.NONE, payload) if compressor is None else compressor.compress(payload)
        checksum = frames.checksum(stored)
        header = FrameHeader(kind, codec, len(stored), len(payload), archive, 0, 0, checksum)
        return header, stored

    def unpack(self, header: FrameHeader, stored: bytes | memoryview, where: str) -> bytes:
        """The payload of a frame, checked. ``where`` names the place for messages. Raises DamagedError."""
        frames.check_payload(header, stored, where)
        try:
            if header.codec is Codec.LZ4:
                plain: bytes = lz4.block.decompress(stored, uncompressed_size=header.plain_bytes)
            elif header.codec is Codec.ZSTD:
                # A frame that claims another size must not make the library allocate that much.
                if zstandard.frame_content_size(stored) != header.plain_bytes:
                    raise DamagedError(f"{where}: the payload lies about its size", reason="length")
                plain = self._of_this_thread.zstd.decompress(stored, allow_extra_data=False)
            else:
                plain = bytes(stored)
        except (lz4.block.LZ4BlockError, zstandard.ZstdError, MemoryError) as error:
            raise DamagedError(
                f"{where}: the payload does not decompress: {error}", reason="payload"
            ) from error
        if len(plain) != header.plain_bytes:
            raise DamagedError(f"{where}: the payload lies about its size", reason="length")
        return plain


PLAIN = FrameCodec()
"""Of archives that are not encrypted."""
