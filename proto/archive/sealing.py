"""Frames of archives that are encrypted: the codec that has the keys. FORMAT.md, "Encryption"."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blake3 import blake3
from cryptography.exceptions import InvalidTag

from ..errors import DamagedError, EncryptedError
from ..keys.ciphers import keyed_cipher, quickest_cipher
from ..keys.derivation import content_id, digest_key, frame_key, wrap_info
from ..keys.records import KEY_BYTES, Keyring, Sealing, Slot, Wrap
from ..records import DIGEST_BYTES, ArchiveId
from ..structs import replace
from . import frames
from .codec import OVERHEAD_BYTES, FrameCodec, Stored
from .frames import AUTHENTICATED, SEALED, Compressor, FrameHeader, FrameType

if TYPE_CHECKING:
    from ..keys.ciphers import Aead

MOST_SLOT_BYTES = 1 << 38
MOST_SLOT_FRAMES = 1 << 32
"""What a slot encrypts at most, before the next one is opened: far below what either cipher allows."""

_COUNTER = struct.Struct("<Q")
_IN_CLEAR = (FrameType.KEYS, FrameType.FOOTER)
_OF_CONTENT = (FrameType.BLOCK, FrameType.SEARCH)


class SealedCodec(FrameCodec):
    """Opens the frames of an encrypted archive with the keys at hand, and, with a ``sealing``, encrypts
    further ones with those of a slot of its own. May be shared between threads for reading only."""

    def __init__(
        self, archive: ArchiveId, slots: Iterable[Slot], keys: Keyring, sealing: Sealing | None = None
    ) -> None:
        super().__init__()
        self._archive = archive
        self._slots = {one.number: one for one in slots}
        self._keys = keys
        self._sealing = sealing
        self._aeads: dict[tuple[int, bool], Aead] = {}
        self._slot = self._counter = self._sealed_bytes = 0

    seals = True

    @property
    def slots(self) -> tuple[Slot, ...]:
        """See FrameCodec."""
        return tuple(one for _, one in sorted(self._slots.items()))

    @property
    def digest_key(self) -> bytes | None:
        """See FrameCodec. Digests stay as they are in later generations: they are of the first slot."""
        first = self._slots[min(self._slots)]
        return digest_key(self._keys.structures[first.structure])

    @property
    def is_spent(self) -> bool:
        """See FrameCodec."""
        return not self._slot or self._sealed_bytes >= MOST_SLOT_BYTES or self._counter >= MOST_SLOT_FRAMES

    def open_slot(self) -> None:
        """See FrameCodec. ValueError without a ``sealing``."""
        if self._sealing is None:
            raise ValueError("nothing is encrypted without a structure key")
        structure, content = self._sealing.structure, secrets.token_bytes(KEY_BYTES)
        from ..keys.wrapping import wrap  # whoever only reads does without

        salt = secrets.token_bytes(KEY_BYTES)
        wraps = tuple(
            Wrap(
                one.id,
                one.name,
                one.kem,
                wrap(one, content + structure.secret, wrap_info(self._archive, salt, one.id)),
            )
            for one in self._sealing.recipients
        )
        slot = self._add(
            Slot(
                number=0,
                archive=self._archive,
                salt=salt,
                cipher=quickest_cipher(),
                structure=structure.id,
                content=content_id(content),
                wraps=wraps,
            )
        )
        self._aeads[slot.number, False] = _aead(slot, structure.secret, b"structure")
        self._aeads[slot.number, True] = _aead(slot, content, b"content")
        self._slot, self._counter, self._sealed_bytes = slot.number, 0, 0

    def adopt(self, slot: Slot) -> tuple[int, bool]:
        """See FrameCodec."""
        for one in self._slots.values():
            if (one.archive, one.salt) == (slot.archive, slot.salt):
                return one.number, False
        return self._add(slot).number, True

    def _add(self, slot: Slot) -> Slot:
        number = max(self._slots, default=0) + 1
        self._slots[number] = slot = replace(slot, number=number)
        return slot

    def binding(self, messages: bytes) -> bytes:
        """See FrameCodec."""
        return blake3(messages).digest(length=DIGEST_BYTES)

    def can_open(self, header: FrameHeader) -> bool:
        """See FrameCodec."""
        if not header.flags:
            return True
        slot = self._slots.get(header.slot)
        if slot is None or (header.slot, _of_content(header)) in self._aeads:
            return True
        return self._secret(slot, _of_content(header)) is not None

    def pack(
        self,
        kind: FrameType,
        archive: ArchiveId,
        compressor: Compressor | None,
        payload: bytes | memoryview,
        position: int = 0,
        bound: bytes = b"",
    ) -> Stored:
        """See FrameCodec."""
        header, plain = self._compressed(kind, archive, compressor, payload, position)
        if kind in _IN_CLEAR:
            return header._replace(checksum=frames.checksum(plain)), plain
        flag = AUTHENTICATED if kind is FrameType.HEADER else SEALED
        stored_bytes = len(plain) + OVERHEAD_BYTES
        if stored_bytes > frames.LARGEST_FRAME:
            raise OverflowError(f"a {kind.name} frame of {stored_bytes} bytes is beyond the format")
        counter = self._counter
        self._counter += 1
        self._sealed_bytes += stored_bytes
        header = header._replace(stored_bytes=stored_bytes, flags=flag, slot=self._slot)
        aead = self._aeads[self._slot, _of_content(header)]
        nonce, packed = _nonce(counter), _COUNTER.pack(counter)
        if flag is AUTHENTICATED:
            stored = bytes(plain) + packed + aead.encrypt(nonce, b"", _bound(header, bound) + bytes(plain))
        else:
            stored = packed + aead.encrypt(nonce, plain, _bound(header, bound))
        return header._replace(checksum=frames.checksum(stored)), stored

    def unpack(
        self, header: FrameHeader, stored: bytes | bytearray | memoryview, where: str, bound: bytes = b""
    ) -> bytes:
        """See FrameCodec. Raises EncryptedError if there is no key for it."""
        frames.check_payload(header, stored, where)
        return self._decompressed(header, self._opened(header, stored, where, bound), where)

    def _opened(
        self, header: FrameHeader, stored: bytes | bytearray | memoryview, where: str, bound: bytes
    ) -> bytes | bytearray | memoryview:
        expected = 0 if header.type in _IN_CLEAR else AUTHENTICATED if _in_clear(header) else SEALED
        if header.flags != expected:
            raise DamagedError(f"{where}: a {header.type.name} frame that is not encrypted", reason="clear")
        if not expected:
            return stored
        if len(stored) < OVERHEAD_BYTES:
            raise DamagedError(f"{where}: too short to be encrypted", reason="length")
        aead = self._aead(header, where)
        stored = memoryview(stored)
        with _damage(where, header):
            if header.flags == SEALED:
                nonce = _nonce(*_COUNTER.unpack_from(stored))
                return aead.decrypt(nonce, stored[_COUNTER.size :], _bound(header, bound))
            plain, end = stored[:-OVERHEAD_BYTES], stored[-OVERHEAD_BYTES:]
            nonce = _nonce(*_COUNTER.unpack_from(end))
            aead.decrypt(nonce, end[_COUNTER.size :], _bound(header, bound) + bytes(plain))
        return plain

    def _aead(self, header: FrameHeader, where: str) -> Aead:
        of_content = _of_content(header)
        found = self._aeads.get((header.slot, of_content))
        if found is None:
            slot = self._slots.get(header.slot)
            if slot is None:
                raise DamagedError(f"{where}: the keys of the frame are gone", reason="keys")
            secret = self._secret(slot, of_content)
            if secret is None:
                raise self.lacks_key(header, where)
            found = _aead(slot, secret, b"content" if of_content else b"structure")
            self._aeads[header.slot, of_content] = found
        return found

    def lacks_key(self, header: FrameHeader, where: str) -> EncryptedError:
        """See FrameCodec. It names who could open it."""
        slot = self._slots[header.slot]
        names = sorted({one.name for one in slot.wraps})
        what = "mail is" if _of_content(header) else "names and flags are"
        return EncryptedError(
            f"{where}: the {what} encrypted, for {', '.join(names)} (--identity FILE names a private key)",
            recipients=names,
            archive=slot.archive.hex(),
        )

    def _secret(self, slot: Slot, of_content: bool) -> bytes | None:
        if of_content:
            return self._keys.contents.get(slot.content)
        return self._keys.structures.get(slot.structure)


def _in_clear(header: FrameHeader) -> bool:
    return header.type is FrameType.HEADER


def _of_content(header: FrameHeader) -> bool:
    return header.type in _OF_CONTENT


def _aead(slot: Slot, secret: bytes, purpose: bytes) -> Aead:
    return keyed_cipher(slot.cipher, frame_key(secret, slot, purpose))


def _nonce(counter: int) -> bytes:
    return bytes(4) + _COUNTER.pack(counter)


def _bound(header: FrameHeader, bound: bytes) -> bytes:
    """The additional data of a frame."""
    packed = frames.authenticated(header)
    return packed[:8] + bound if header.type is FrameType.SEARCH else packed


@contextmanager
def _damage(where: str, header: FrameHeader) -> Iterator[None]:
    try:
        yield
    except InvalidTag as error:
        raise DamagedError(
            f"{where}: not the {header.type.name} frame that was written here", reason="forged"
        ) from error
