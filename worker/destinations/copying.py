"""Bytes copied into a file of the system and read back, with the checksum of both; in pieces, so that memory
does not depend on how many there are.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

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
    with _past_page_cache(fd) as can, mmap.mmap(-1, PIECE_BYTES) as buffer:
        while can and source.size - at >= PIECE_BYTES:
            data = piece_of(source, at)
            with guard():
                if not _write_past(fd, data, at, buffer):
                    break
            hashed.update(data)
            at += len(data)
            on_bytes(len(data))
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
    """The BLAKE3 digest of a file that is durable, as the disk has it rather than the memory: read past that
    where the file system can do it, else after what it holds was dropped. Raises OSError."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    with _past_page_cache(fd):
        try:
            return _digest(fd, size_bytes)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return _digest(fd, size_bytes)


@contextmanager
def _past_page_cache(fd: int) -> Iterator[bool]:
    """Let a file be read and written past the page cache, if its file system can (O_DIRECT): pages for data
    that nobody needs twice are most of what copying costs. Whole pieces only, from and to memory that begins
    with a page; some file systems say no (EINVAL) only then."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    can = True
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
    except OSError:
        can = False
    try:
        yield can
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def _write_past(fd: int, data: bytes, at: int, buffer: mmap.mmap) -> bool:
    """Write one piece; whether all of it was taken. If not it is to be written in the usual way, which tells
    why."""
    if len(data) < PIECE_BYTES:
        return False
    buffer[:] = data
    try:
        return os.pwrite(fd, buffer, at) == PIECE_BYTES
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise


def _digest(fd: int, size_bytes: int) -> bytes:
    hashed = blake3()
    at = 0
    with mmap.mmap(-1, PIECE_BYTES) as buffer:
        while at <= size_bytes and (length := os.preadv(fd, [buffer], at)):
            with memoryview(buffer)[:length] as read:
                hashed.update(read)
            at += length
    return hashed.digest()


def is_same(access: RandomAccess, other: RandomAccess) -> bytes | None:
    """The BLAKE3 digest of two files of the same size, if they are of the same bytes; else None."""
    hashed = blake3()
    at = 0
    while at < access.size:
        data = piece_of(access, at)
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
