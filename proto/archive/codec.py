"""Payloads to frames and back: the place where compression is, and, in ``sealing``, encryption."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable

import lz4.block
import zstandard

from ..errors import DamagedError, EncryptedError
from ..keys.records import KeySlots, Slot
from ..records import ArchiveId
from . import frames
from .frames import AUTHENTICATED, SEALED, Codec, Compressor, FrameHeader, FrameType

OVERHEAD_BYTES = 8 + 16
"""What the counter and the tag of an encrypted frame add to its payload."""

_COUNTER = struct.Struct("<Q")
_MOST_COUNTER = 1 << 62

Stored = tuple[FrameHeader, bytes | bytearray | memoryview]
"""A frame as it is stored, whose header may still say another place."""


_NO_SLOTS = KeySlots()


def counter_of(stored: Stored) -> int:
    """The counter of a frame that is encrypted, or authenticated in clear. Raises DamagedError if it has none
    that anybody has counted to."""
    header, payload = stored
    if len(payload) < OVERHEAD_BYTES:
        raise DamagedError("a frame is too short to be encrypted", reason="length")
    at = 0 if header.flags == SEALED else len(payload) - OVERHEAD_BYTES
    counter = int(_COUNTER.unpack_from(payload, at)[0])
    if counter >= _MOST_COUNTER:
        raise DamagedError("a frame is not encrypted as any is", reason="forged")
    return counter


class _Decompressor(threading.local):
    """To make one takes longer than to decompress a small frame."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


class FrameCodec:
    """What turns a payload into what is stored of it, and back; the same for all that read and write an
    archive. This one encrypts nothing (``sealing.SealedCodec`` does). It may be shared between threads."""

    seals = False
    """Whether it encrypts."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All wrapped slots of the archive that are known, ascending by number."""
        return self.key_slots.wrapped

    @property
    def key_slots(self) -> KeySlots:
        """All slots of the archive that are known."""
        return _NO_SLOTS

    def learn(self, _found: KeySlots) -> None:
        """Know the slots of a further KEYS frame: those that are known, with the same keys, and others with
        greater numbers. Raises DamagedError if they contradict what is known."""
        raise DamagedError("keys where nothing is encrypted", reason="keys")

    def slots_after(self, _number: int) -> KeySlots:
        """Those of them with greater numbers than this."""
        return _NO_SLOTS

    def wrapped(self, _number: int) -> Slot | None:
        """The slot with this number, or that of which it is made; None if it is not known."""
        return None

    def owner_of(self, _number: int) -> bytes:
        """The id of the secret of the mailbox whose slot has this number; empty for any other slot."""
        return b""

    def limit(self, _used: Iterable[tuple[int, int]]) -> None:
        """Take frames of these slots for damaged whose counters are not below these numbers: they are of an
        attempt that was given up, and stand in no archive (``Seal``). Where several copies say so, which may
        be of different generations, what all of them say counts."""

    @property
    def digest_key(self) -> bytes | None:
        """The key that the digests of segments in INDEX frames are made with; None: without any."""
        return None

    def __init__(self) -> None:
        self._of_this_thread = _Decompressor()

    def pack(
        self,
        kind: FrameType,
        archive: ArchiveId,
        compressor: Compressor | None,
        payload: bytes | memoryview,
        position: int = 0,
        _bound: bytes = b"",
        _owner: bytes = b"",
    ) -> Stored:
        """A frame of this position whose payload is compressed like this, or not at all; where it will lie is
        not said yet. ``_bound`` is what a SEARCH frame is bound to (``binding``), ``_owner`` the mailbox with
        whose slot it is encrypted (``open_for``). Raises OverflowError for a payload that no frame can
        hold."""
        header, stored = self._compressed(kind, archive, compressor, payload, position)
        return header._replace(checksum=frames.checksum(stored)), stored

    def unpack(
        self, header: FrameHeader, stored: bytes | bytearray | memoryview, where: str, _bound: bytes = b""
    ) -> bytes:
        """The payload of a frame, checked. ``where`` names the place for messages. Raises DamagedError;
        EncryptedError if there is no key for it."""
        frames.check_payload(header, stored, where)
        if header.flags == AUTHENTICATED:
            # Without a key it can't be checked.
            stored = stored[:-OVERHEAD_BYTES]
        elif header.flags:
            raise self.lacks_key(header, where)
        return self._decompressed(header, stored, where)

    @property
    def is_spent(self) -> bool:
        """Whether a new slot has to be opened before anything more is encrypted."""
        return False

    def open_slot(self) -> None:
        """Make new keys with which all is encrypted from now on, and wrap them. ValueError for what encrypts
        nothing."""
        raise ValueError("nothing is encrypted here")

    def open_for(self, _owner: bytes) -> bool:
        """Have a slot for the mailbox whose secret has this id (none is needed if it is empty); whether it is
        a new one. ValueError if the secret is not at hand."""
        return False

    def adopt(self, _slot: Slot, _owner: bytes = b"") -> tuple[int, bool]:
        """The number that a slot of another archive, or that of this mailbox made of it, has in this one, and
        whether it is new here. ValueError for what encrypts nothing."""
        raise ValueError("nothing is encrypted here")

    def binding(self, _messages: bytes) -> bytes:
        """What the SEARCH frame behind a MESSAGES frame with this payload is bound to."""
        return b""

    def can_open(self, header: FrameHeader) -> bool:
        """Whether no key is missing for a frame."""
        return header.flags != SEALED

    def lacks_key(self, header: FrameHeader, where: str) -> EncryptedError:
        """The error that there is no key for a frame."""
        return EncryptedError(f"{where}: the {header.type.name} frame is encrypted")

    def _compressed(
        self,
        kind: FrameType,
        archive: ArchiveId,
        compressor: Compressor | None,
        payload: bytes | memoryview,
        position: int,
    ) -> Stored:
        """Without its checksum."""
        if len(payload) > frames.LARGEST_FRAME:
            raise OverflowError(f"a {kind.name} frame of {len(payload)} bytes is beyond the format")
        codec, stored = (Codec.NONE, payload) if compressor is None else compressor.compress(payload)
        return FrameHeader(kind, codec, len(stored), len(payload), archive, 0, position, b""), stored

    def _decompressed(self, header: FrameHeader, stored: bytes | bytearray | memoryview, where: str) -> bytes:
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
