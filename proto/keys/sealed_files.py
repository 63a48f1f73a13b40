"""Files beside archives that name people, encrypted with the structure key of their staging area. FORMAT.md,
"Sealed files"."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from ..errors import DamagedError, EncryptedError, UnsupportedError
from .ciphers import keyed_cipher, quickest_cipher
from .derivation import file_key
from .records import KEY_BYTES, Cipher, Keyring, StructureKey

SUFFIX = ".sealed"
"""How the names of sealed files end."""

MAGIC = b"\x89MHS\r\n\x1a\n"
"""What they begin with."""

CHUNK_BYTES = 1 << 20
"""So much is encrypted at once, and less at the end of a file only."""

_VERSION = 1
_HEADER = struct.Struct("<8sBBH4x16s32s")
_LENGTH = struct.Struct("<I")
_LAST = 1 << 31
_TAG_BYTES = 16
_NONCE = struct.Struct("<B3xQ")


def seal_file(name: str, content: Iterable[bytes], key: StructureKey) -> Iterator[bytes]:
    """The bytes of a sealed file of this content. ``name`` (ASCII) is what it is called, without the folders
    that it lies in; whoever opens it can be sure of that."""
    salt, cipher = os.urandom(KEY_BYTES), quickest_cipher()
    called = name.encode("ascii")
    header = _HEADER.pack(MAGIC, _VERSION, cipher, len(called), key.id, salt) + called
    sealing = keyed_cipher(cipher, file_key(key.secret, salt))
    yield header
    number = 0
    waiting = bytearray()

    def chunk(plain: bytes, *, last: bool) -> bytes:
        stored = sealing.encrypt(_NONCE.pack(last, number), plain, header)
        return _LENGTH.pack(len(stored) | (_LAST if last else 0)) + stored

    for part in content:
        waiting += part
        while len(waiting) > CHUNK_BYTES:
            yield chunk(bytes(waiting[:CHUNK_BYTES]), last=False)
            number += 1
            del waiting[:CHUNK_BYTES]
    yield chunk(bytes(waiting), last=True)


def is_sealed(beginning: bytes) -> bool:
    """Whether a file that begins so is a sealed one."""
    return beginning.startswith(MAGIC)


def open_sealed_file(file: BinaryIO, keys: Keyring, name: str) -> Iterator[bytes]:
    """The content of a sealed file, which is called ``name``; each piece as it was written, but all of it
    only if this ends without an error. Zeros behind the end, as of tapes, are passed over.

    Raises DamagedError if it is not whole, or another file; EncryptedError without the structure key;
    UnsupportedError.
    """
    fixed = file.read(_HEADER.size)
    if len(fixed) != _HEADER.size or not is_sealed(fixed):
        raise DamagedError(f"{name}: it is no sealed file", reason="sealed")
    _, version, number_of_cipher, length, structure, salt = _HEADER.unpack(fixed)
    if version != _VERSION or number_of_cipher not in set(Cipher):
        raise UnsupportedError(f"{name}: it was sealed by a later version of mailhaul")
    header = fixed + file.read(length)
    secret = keys.structures.get(structure)
    if secret is None:
        raise EncryptedError(
            f"{name}: it is sealed with the structure key {structure.hex()}, which is not at hand: it is in "
            "each archive that was encrypted with it (--identity FILE names a private key)"
        )
    if header[_HEADER.size :] != name.encode("utf-8", "surrogateescape"):
        raise DamagedError(f"{name}: the file was written under another name", reason="foreign")
    opening = keyed_cipher(Cipher(number_of_cipher), file_key(secret, salt))
    from cryptography.exceptions import InvalidTag  # there, as its ciphers are

    number, last = 0, False
    while not last:
        stored, last = _chunk(file, name)
        try:
            yield opening.decrypt(_NONCE.pack(last, number), stored, header)
        except InvalidTag as error:
            raise DamagedError(f"{name}: not the file that was written", reason="forged") from error
        number += 1
    while rest := file.read(CHUNK_BYTES):
        if rest.strip(b"\0"):
            raise DamagedError(f"{name}: something stands behind its end", reason="sealed")


def _chunk(file: BinaryIO, name: str) -> tuple[bytes, bool]:
    """The next chunk as it is stored, and whether it is to be the last one."""
    packed = file.read(_LENGTH.size)
    length = _LENGTH.unpack(packed)[0] if len(packed) == _LENGTH.size else 0
    size = length & ~_LAST
    if not _TAG_BYTES <= size <= CHUNK_BYTES + _TAG_BYTES:
        raise DamagedError(f"{name}: the file does not end where it is to", reason="truncated")
    stored = file.read(size)
    if len(stored) != size:
        raise DamagedError(f"{name}: the file does not end where it is to", reason="truncated")
    return stored, bool(length & _LAST)
