"""Frames of archives that are encrypted: the codec that has the keys. FORMAT.md, "Encryption"."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar

from blake3 import blake3
from cryptography.exceptions import InvalidTag

from ..errors import DamagedError, EncryptedError, ErasedError
from ..keys.ciphers import keyed_cipher, quickest_cipher
from ..keys.derivation import content_id, digest_key, frame_key, mailbox_frame_key, wrap_info
from ..keys.records import KEY_BYTES, Keyring, KeySlots, MailboxSlot, Sealing, Slot, Wrap
from ..records import DIGEST_BYTES, ArchiveId
from ..structs import replace
from . import frames
from .codec import OVERHEAD_BYTES, FrameCodec, Stored, counter_of
from .frames import AUTHENTICATED, SEALED, Compressor, FrameHeader, FrameType

if TYPE_CHECKING:
    from ..keys.ciphers import Aead

MOST_SLOT_BYTES = 1 << 38
MOST_SLOT_FRAMES = 1 << 32
"""What a slot encrypts at most, before the next one is opened: far below what either cipher allows."""

_COUNTER = struct.Struct("<Q")
_IN_CLEAR = (FrameType.KEYS, FrameType.FOOTER)
_OF_CONTENT = (FrameType.BLOCK, FrameType.SEARCH)

_Numbered = TypeVar("_Numbered", Slot, MailboxSlot)


class SealedCodec(FrameCodec):
    """Opens the frames of an encrypted archive with the keys at hand, and, with a ``sealing``, encrypts
    further ones with those of a slot of its own, and of slots of mailboxes that are made of it. May be shared
    between threads for reading only."""

    def __init__(
        self, archive: ArchiveId, slots: KeySlots, keys: Keyring, sealing: Sealing | None = None
    ) -> None:
        super().__init__()
        self._archive = archive
        self._slots: dict[int, Slot] = {}
        self._mailboxes: dict[int, MailboxSlot] = {}
        self._last = 0  # the greatest number of a slot
        self._numbers: dict[tuple[ArchiveId, bytes, bytes], int] = {}
        for slot in slots.wrapped:
            self._know(slot)
        for mailbox in slots.mailboxes:
            self._know(mailbox)
        self._keys = keys
        self._sealing = sealing
        self._secrets = sealing.secrets if sealing is not None else {}
        self._aeads: dict[tuple[int, bool], Aead] = {}
        self._content = b""  # the content key of the slot that is open
        self._open: dict[bytes, int] = {}  # the slots that are open: by mailbox, and the wrapped one
        self._counters: dict[int, int] = {}
        self._sealed_frames = self._sealed_bytes = 0
        self._used: dict[int, int] | None = None

    seals = True

    @property
    def key_slots(self) -> KeySlots:
        """See FrameCodec."""
        return KeySlots.by_number(self._slots, self._mailboxes)

    def learn(self, found: KeySlots) -> None:
        """See FrameCodec."""
        last = self._last
        for slot in found.wrapped:
            known = self._slots.get(slot.number, slot)
            # Sidecars may have added wraps.
            if replace(known, wraps=slot.wraps) != slot or slot.number in self._mailboxes:
                raise DamagedError("other keys than before", reason="keys")
            self._know(slot, last)
        for mailbox in found.mailboxes:
            if self._mailboxes.get(mailbox.number, mailbox) != mailbox or mailbox.number in self._slots:
                raise DamagedError("other keys than before", reason="keys")
            self._know(mailbox, last)

    def slots_after(self, number: int) -> KeySlots:
        """See FrameCodec."""
        return KeySlots(_after(self._slots, number), _after(self._mailboxes, number))

    def owner_of(self, number: int) -> bytes:
        """See FrameCodec."""
        found = self._mailboxes.get(number)
        return found.secret if found is not None else b""

    def limit(self, used: Iterable[tuple[int, int]]) -> None:
        """See FrameCodec."""
        found = dict(used)
        if self._used is not None:
            found = {one: max(found[one], self._used[one]) for one in found.keys() & self._used.keys()}
        self._used = found

    @property
    def digest_key(self) -> bytes | None:
        """See FrameCodec. Digests stay as they are in later generations: they are of the first slot."""
        first = self._slots[min(self._slots)]
        return digest_key(self._keys.structures[first.structure])

    @property
    def is_spent(self) -> bool:
        """See FrameCodec. What slots of mailboxes encrypt counts with the one that they are made of."""
        spent = self._sealed_bytes >= MOST_SLOT_BYTES or self._sealed_frames >= MOST_SLOT_FRAMES
        return spent or not self._open

    def open_slot(self) -> None:
        """See FrameCodec. ValueError without a ``sealing``."""
        if self._sealing is None:
            raise ValueError("nothing is encrypted without a structure key")
        structure, content = self._sealing.structure, secrets.token_bytes(KEY_BYTES)
        from ..keys.wrapping import wrap  # whoever only reads does without

        salt = secrets.token_bytes(KEY_BYTES)
        wraps = tuple(
            Wrap(
                recipient.id,
                recipient.name,
                recipient.kem,
                wrap(recipient, content + structure.secret, wrap_info(self._archive, salt, recipient.id)),
            )
            for recipient in self._sealing.recipients
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
        self._aeads[slot.number, False] = _aead(slot, frame_key(structure.secret, slot, b"structure"))
        self._aeads[slot.number, True] = _aead(slot, frame_key(content, slot, b"content"))
        self._content, self._open = content, {b"": slot.number}
        self._sealed_frames = self._sealed_bytes = 0

    def open_for(self, owner: bytes) -> bool:
        """See FrameCodec."""
        if owner in self._open:
            return False
        if self._sealing is None or owner not in self._secrets:
            raise ValueError("nothing is encrypted for a mailbox without its secret")
        slot, secret = self._slots[self._open[b""]], self._secrets[owner]
        number = self._open[owner] = self._add_mailbox(slot.number, owner)
        for of_content, key in ((False, self._sealing.structure.secret), (True, self._content)):
            frames_key = mailbox_frame_key(key, secret, slot, owner, _purpose(of_content))
            self._aeads[number, of_content] = _aead(slot, frames_key)
        return True

    def adopt(self, slot: Slot, owner: bytes = b"") -> tuple[int, bool]:
        """See FrameCodec."""
        origin = slot.archive, slot.salt, owner
        number = self._numbers.get(origin)
        if number is not None:
            return number, False
        if owner:
            parent, _ = self.adopt(slot)
            return self._add_mailbox(parent, owner), True
        return self._add(slot).number, True

    def _add(self, slot: Slot) -> Slot:
        slot = replace(slot, number=self._last + 1)
        self._know(slot)
        return slot

    def _add_mailbox(self, parent: int, owner: bytes) -> int:
        self._know(MailboxSlot(number=self._last + 1, parent=parent, secret=owner))
        return self._last

    def _know(self, one: Slot | MailboxSlot, last: int = 0) -> None:
        """Raises DamagedError for a number that is not known, and not greater than ``last``."""
        if one.number in self._slots or one.number in self._mailboxes:
            return
        if one.number <= last:
            raise DamagedError("the keys are not in order", reason="keys")
        self._last = max(self._last, one.number)
        if isinstance(one, Slot):
            self._slots[one.number] = one
            self._numbers.setdefault((one.archive, one.salt, b""), one.number)
            return
        self._mailboxes[one.number] = one
        slot = self._slots.get(one.parent)
        if slot is not None:
            self._numbers.setdefault((slot.archive, slot.salt, one.secret), one.number)

    def binding(self, messages: bytes) -> bytes:
        """See FrameCodec."""
        return blake3(messages).digest(length=DIGEST_BYTES)

    def can_open(self, header: FrameHeader) -> bool:
        """See FrameCodec."""
        if not header.flags:
            return True
        of_content = _of_content(header)
        if (header.slot, of_content) in self._aeads or self.wrapped(header.slot) is None:
            return True
        return self._frame_key(header.slot, of_content) is not None

    def pack(
        self,
        kind: FrameType,
        archive: ArchiveId,
        compressor: Compressor | None,
        payload: bytes | memoryview,
        position: int = 0,
        bound: bytes = b"",
        owner: bytes = b"",
    ) -> Stored:
        """See FrameCodec."""
        header, plain = self._compressed(kind, archive, compressor, payload, position)
        if kind in _IN_CLEAR:
            return header._replace(checksum=frames.checksum(plain)), plain
        flag = AUTHENTICATED if kind is FrameType.HEADER else SEALED
        stored_bytes = len(plain) + OVERHEAD_BYTES
        if stored_bytes > frames.LARGEST_FRAME:
            raise OverflowError(f"a {kind.name} frame of {stored_bytes} bytes is beyond the format")
        slot = self._open[owner]
        counter = self._counters.get(slot, 0)
        self._counters[slot] = counter + 1
        self._sealed_frames += 1
        self._sealed_bytes += stored_bytes
        header = header._replace(stored_bytes=stored_bytes, flags=flag, slot=slot)
        aead = self._aeads[slot, _of_content(header)]
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
        if self._used and counter_of((header, stored)) >= self._used.get(header.slot, 1 << 64):
            raise DamagedError(f"{where}: of an attempt that was given up", reason="forged")
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
            slot = self.wrapped(header.slot)
            if slot is None:
                raise DamagedError(f"{where}: the keys of the frame are gone", reason="keys")
            key = self._frame_key(header.slot, of_content)
            if key is None:
                raise self.lacks_key(header, where)
            found = self._aeads[header.slot, of_content] = _aead(slot, key)
        return found

    def wrapped(self, number: int) -> Slot | None:
        """See FrameCodec."""
        mailbox = self._mailboxes.get(number)
        return self._slots.get(number if mailbox is None else mailbox.parent)

    def _frame_key(self, number: int, of_content: bool) -> bytes | None:
        """None if it takes a key that is not at hand."""
        slot, mailbox = self.wrapped(number), self._mailboxes.get(number)
        key = self._secret(slot, of_content) if slot is not None else None
        if slot is None or key is None:
            return None
        if mailbox is None:
            return frame_key(key, slot, _purpose(of_content))
        secret = self._keys.secrets.get(mailbox.secret)
        if secret is None:
            return None
        return mailbox_frame_key(key, secret, slot, mailbox.secret, _purpose(of_content))

    def lacks_key(self, header: FrameHeader, where: str) -> EncryptedError:
        """See FrameCodec. It names who could open it; ErasedError if nobody can."""
        slot, owner = self.wrapped(header.slot), self.owner_of(header.slot)
        if owner in self._keys.erased:
            return ErasedError(f"{where}: it is of a mailbox that was erased")
        if slot is None:
            return super().lacks_key(header, where)
        if owner and owner not in self._keys.secrets:
            return EncryptedError(
                f"{where}: it is of a mailbox whose secret is not at hand: the vault of secrets is missing, "
                "or older than the archive",
                archive=slot.archive.hex(),
                secret=owner.hex(),
            )
        names = sorted({one.name for one in slot.wraps})
        what = "mail is" if _of_content(header) else "names and flags are"
        return EncryptedError(
            f"{where}: the {what} {self._keys.lacking(names)}",
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


def _purpose(of_content: bool) -> bytes:
    return b"content" if of_content else b"structure"


def _after(found: dict[int, _Numbered], number: int) -> tuple[_Numbered, ...]:
    """Those with a greater number: what was added comes last, in this order."""
    return tuple(takewhile(lambda slot: slot.number > number, reversed(found.values())))[::-1]


def _aead(slot: Slot, key: bytes) -> Aead:
    return keyed_cipher(slot.cipher, key)


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
