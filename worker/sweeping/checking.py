"""A file as it is before it is copied: whole, and with which checksum. One reading, from front to back."""

from __future__ import annotations

from blake3 import blake3

from ...proto.archive.files import RandomAccess
from ...proto.archive.frames import HEADER_BYTES, check_payload, decode_any_header
from ...proto.archive.reader import open_sealed
from ...proto.errors import DamagedError
from ...proto.records import ArchiveId

_PIECE_BYTES = 4 << 20


def checked_digest(file: RandomAccess, archive: ArchiveId) -> bytes:
    """The BLAKE3 digest of an archive of which every frame is as it was written, none is missing, and the
    footer leads to a directory. Raises DamagedError, UnsupportedError."""
    hashed = blake3()
    at = count = 0
    while at < file.size:
        where = f"{file.name} at {at}"
        beginning = file.read_at(at, HEADER_BYTES)
        header, _ = decode_any_header(beginning, where, archive)
        if header.sequence != count:
            raise DamagedError(f"{where}: frame {count} is missing or out of place", reason="sequence")
        stored = file.read_at(at + HEADER_BYTES, header.stored_bytes)
        check_payload(header, stored, where)
        hashed.update(beginning)
        hashed.update(stored)
        at += HEADER_BYTES + header.stored_bytes
        count += 1
    open_sealed(file)
    return hashed.digest()


def digest(file: RandomAccess) -> bytes:
    """The BLAKE3 digest of any file. Raises DamagedError."""
    hashed = blake3()
    at = 0
    while at < file.size:
        data = file.read_at(at, min(_PIECE_BYTES, file.size - at))
        if not data:
            raise DamagedError(f"{file.name} ends at {at}, not at {file.size}", reason="truncated")
        hashed.update(data)
        at += len(data)
    return hashed.digest()
