"""Files of a mail store that are open for reading.

Whatever a user may have put in the place of a file: no link is followed, nothing but a regular file is
read, and no open waits for somebody at the other end of a pipe.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TypeVar

from blake3 import blake3

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable
from ...proto.records import Attributes, FileStat, Listed
from ..packing import hot_path
from .attributes import AttributeReader
from .directories import owned_by, ownership, unavailable

_BLOCK_BYTES = 1 << 20

_Opened = TypeVar("_Opened")


def file_stat(status: os.stat_result, attributes: Attributes = ()) -> FileStat:
    """What the port tells of a regular file."""
    identity = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
    whose = ownership(status)
    return FileStat(status.st_size, status.st_mtime_ns, whose, identity, attributes, inode=status.st_ino)


class StoreFile:
    """An OpenedFile (see ``proto.ports``): a descriptor, or what was read already of a small file (fd -1)."""

    __slots__ = ("_data", "_fd", "listed", "stat")

    def __init__(self, fd: int, stat: FileStat, listed: Listed | None, data: bytes = b"") -> None:
        self._fd = fd
        self._data = data
        self.stat = stat
        self.listed = listed

    def read(self, size: int) -> bytes:
        if self._fd < 0:
            data = self._data
            self._data = data[size:]
            return data[:size]
        try:
            data = os.read(self._fd, size)
            if len(data) == size or not data:
                return data
            chunks = [data]
            missing = size - len(data)
            # A file on a network may give less than there is; only an empty answer is its end.
            while missing and (data := os.read(self._fd, missing)):
                chunks.append(data)
                missing -= len(data)
        except OSError as error:
            raise unavailable(error, b"") from error
        return b"".join(chunks) if len(chunks) > 1 else chunks[0]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def digest_of(opener: FileOpener, directory: int, name: bytes, length: int) -> bytes:
    """The digest of a file, of so many bytes; nothing, for what can't be read. Raises FileNotFoundError."""
    digest = blake3()
    try:
        file = opener.open(directory, name)
    except MessageUnavailable:
        return b""
    try:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    except MessageUnavailable:
        return b""
    finally:
        file.close()
    return digest.digest(length=length)


class FileOpener:
    """Opens regular files without touching their access times, where the system allows that. What it tells
    of them includes their ``attributes`` if it is given somebody who reads these."""

    def __init__(self, attributes: AttributeReader | None = None) -> None:
        self.attributes = attributes
        self._flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._no_access_time = getattr(os, "O_NOATIME", 0)

    def open(self, directory: int, name: bytes, listed: Listed | None = None) -> StoreFile:
        """Raises FileNotFoundError if there is no such name, MessageUnavailable for any other reason."""
        try:
            found = self._open(hot_path.read_file, directory, name)
            if not isinstance(found, int):
                data, mtime_ns, mode, uid, gid, inode = found
                told = FileStat(len(data), mtime_ns, owned_by(mode, uid, gid), None, (), inode)
                return StoreFile(-1, told, listed, data)
            status = _regular(found, name)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unavailable(error, name) from error
        attributes = self.attributes.of(found, status.st_dev, name) if self.attributes else ()
        return StoreFile(found, file_stat(status, attributes), listed)

    def open_regular(self, directory: int, name: bytes) -> tuple[int, os.stat_result]:
        """The descriptor and status of a regular file. Raises OSError, or MessageUnavailable
        (``not-regular``) for anything that is no regular file."""
        fd = self._open(_open_at, directory, name)
        return fd, _regular(fd, name)

    def _open(self, call: Callable[[int, bytes, int], _Opened], directory: int, name: bytes) -> _Opened:
        if self._no_access_time:
            try:
                return call(directory, name, self._flags | self._no_access_time)
            except PermissionError:
                # Only the owner and root may leave access times alone. If that was not the reason, the
                # second attempt says so.
                opened = call(directory, name, self._flags)
                self._no_access_time = 0
                return opened
        return call(directory, name, self._flags)


def _open_at(directory: int, name: bytes, flags: int) -> int:
    return os.open(name, flags, dir_fd=directory)


def _regular(fd: int, name: bytes) -> os.stat_result:
    """The status of an open file; closes it, and raises MessageUnavailable, if it is no regular file."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise MessageUnavailable(f"{printable(name)} is no regular file", reason="not-regular")
    return status
