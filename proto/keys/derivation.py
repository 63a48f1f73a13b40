"""Keys made of keys, and the ids of keys. All by HKDF with SHA-256 (RFC 5869). FORMAT.md, "Encryption"."""

from __future__ import annotations

import hashlib
import hmac

from ..records import ArchiveId
from .records import KEY_BYTES, KEY_ID_BYTES, Kem, Slot, StructureKey

_CONTEXT = b"mailhaul 4 "
_HASH_BYTES = hashlib.sha256().digest_size


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256: extract and expand. Up to 255 * 32 bytes."""
    extracted = hmac.digest(salt or bytes(_HASH_BYTES), secret, "sha256")
    expanded = last = b""
    for number in range(1, -(-length // _HASH_BYTES) + 1):
        last = hmac.digest(extracted, last + info + bytes((number,)), "sha256")
        expanded += last
    return expanded[:length]


def structure_key(secret: bytes) -> StructureKey:
    """A structure key with its id."""
    return StructureKey(hkdf(secret, b"", _CONTEXT + b"structure key id", KEY_ID_BYTES), secret)


def content_id(secret: bytes) -> bytes:
    """The id of a content key: nobody can find another key with the same."""
    return hkdf(secret, b"", _CONTEXT + b"content key id", KEY_ID_BYTES)


def recipient_id(kem: Kem, public: bytes) -> bytes:
    """The id of a recipient."""
    return hashlib.sha256(_CONTEXT + b"recipient" + bytes((kem,)) + public).digest()[:KEY_ID_BYTES]


def digest_key(structure: bytes) -> bytes:
    """The key of the digests of segments (BLAKE3 keyed), of a structure key."""
    return hkdf(structure, b"", _CONTEXT + b"digests")


def sidecar_key(structure: bytes, archive: ArchiveId) -> bytes:
    """The key that authenticates sidecars of an archive, of a structure key."""
    return hkdf(structure, b"", _CONTEXT + b"sidecar" + archive)


def frame_key(secret: bytes, slot: Slot, purpose: bytes) -> bytes:
    """The key that frames of a slot are encrypted with, of its structure key (``structure``) or its content
    key (``content``)."""
    return hkdf(secret, slot.salt, _CONTEXT + purpose + slot.archive)


def file_key(structure: bytes, salt: bytes) -> bytes:
    """The key of a sealed file with this salt, of a structure key."""
    return hkdf(structure, salt, _CONTEXT + b"file")


def mailbox_frame_key(key: bytes, secret: bytes, slot: Slot, mailbox: bytes, purpose: bytes) -> bytes:
    """The key that frames of a mailbox are encrypted with: of a key of the slot, and the secret of the
    mailbox with the id ``mailbox``."""
    return hkdf(key + secret, slot.salt, _CONTEXT + b"mailbox " + purpose + slot.archive + mailbox)


def wrap_info(archive: ArchiveId, salt: bytes, recipient: bytes) -> bytes:
    """What the wrapped keys of a slot are bound to: ``info`` of HPKE."""
    return _CONTEXT + b"wrap" + archive + salt + recipient
