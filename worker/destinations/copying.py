"""Bytes copied into a file of the system and read back, with the checksum of both; in pieces, so that memory
does not depend on how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

from blake3 import blake3

from ...proto.archive.files import RandomAccess
from ...proto.errors import DamagedError
from ..archives.ports import OnBytes

PIECE_BYTES = 4 << 20
_WRITE_BACK_BYTES = 32 << 20

Guard = Callable[[], AbstractContextManager[None]]
"""What errors of the system are raised in; those of a source are not."""


def copy_into(fd: int, source: RandomAccess, on_bytes: OnBytes, guard: Guard) -> bytes:
    """Write all of a source into a new file, durably; returns its BLAKE3 digest."""
    hashed = blake3()
    at = written_back = 0
    while at < source.size:
        data = piece_of(source, at)
        hashed.update(data)
        with guard():
            _write(fd, data, at)
            at += len(data)
            if at - written_back >= _WRITE_BACK_BYTES:
                # Begins to write to the disk now, not only at the sync.
                os.posix_fadvise(fd, written_back, at - written_back, os.POSIX_FADV_DONTNEED)
                written_back = at
        on_bytes(len(data))
    with guard():
        os.fsync(fd)
    return hashed.digest()


def digest_of(fd: int, size_bytes: int) -> bytes:
    """The BLAKE3 digest of a file that is durable, as the disk has it rather than the memory. Raises
    OSError."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    hashed = blake3()
    at = 0
    while at <= size_bytes and (data := os.pread(fd, PIECE_BYTES, at)):
        hashed.update(data)
        at += len(data)
    return hashed.digest()


def is_same(one: RandomAccess, other: RandomAccess) -> bytes | None:
    """The BLAKE3 digest of two files of the same size, if they are of the same bytes; else None."""
    hashed = blake3()
    at = 0
    while at < one.size:
        data = piece_of(one, at)
        if other.read_at(at, len(data)) != data:
            return None
        hashed.update(data)
        at += len(data)
    return hashed.digest()


def piece_of(source: RandomAccess, at: int) -> bytes:
    """The next bytes of a source. Raises DamagedError if it ends early."""
    data = source.read_at(at, min(PIECE_BYTES, source.size - at))
    if not data:
        raise DamagedError(f"{source.name} ends at {at}, not at {source.size}", reason="truncated")
    return data


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, at)
        view = view[count:]
        at += count
