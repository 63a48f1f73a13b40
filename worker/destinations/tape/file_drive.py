"""A tape drive made of a file: the same records, filemarks and end of tape, for machines without a drive.

The file is laid out as TAPE.md says (the layout that the SIMH emulators made known, so other tools read it).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from array import array
from collections.abc import Sequence

from ....proto.errors import (
    AccessError,
    BackupError,
    DamagedError,
    PlaceError,
    PlaceFullError,
    PlaceUnavailableError,
)
from ....proto.structs import Record
from .drive import DriveStatus, EndOfTapeError, Mark

_LENGTH_BYTES = 4
_FILEMARK = (0).to_bytes(_LENGTH_BYTES, "little")
_DAMAGED = 1 << 31
"""In the length of a record: it can't be read."""
_MOST_RECORD = 1 << 24

_WRITE_BACK_BYTES = 8 << 20

WARNING_BYTES = 4 << 20
"""So long before its end a volume warns, unless it is short itself."""


class TapeEnd(Record, kw_only=True):
    """How a tape ends: ``capacity_bytes`` fit on it, and from ``warning_bytes`` before that on every second
    write is refused. Some drives have what they refuse on the tape nevertheless (``keeps_refused``)."""

    capacity_bytes: int
    warning_bytes: int = WARNING_BYTES
    keeps_refused: bool = False


class FileDrive:
    """See Drive. Nobody else can open the same file meanwhile."""

    def __init__(self, path: str, end: TapeEnd) -> None:
        """Raises PlaceUnavailableError if another drive has the file, or it is not there; AccessError."""
        self.name = path
        self._end = end
        self._protected = False
        self._fd = self._opened()
        # Where each block that is known begins, and the end of the last one.
        self._starts = array("Q", [0])
        self._size = os.fstat(self._fd).st_size
        self._block = 0
        self._refused = False
        self._written_back = self._size

    def _opened(self) -> int:
        try:
            self._protected = not stat.S_IMODE(os.stat(self.name).st_mode) & 0o222
            fd = os.open(self.name, (os.O_RDONLY if self._protected else os.O_RDWR) | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise _translated(error, self.name) from error
        return fd

    def read_record(self) -> bytes | Mark:
        """See Drive."""
        if not self._known(self._block):
            return Mark.END
        start, end = self._starts[self._block], self._starts[self._block + 1]
        self._block += 1
        if end - start == _LENGTH_BYTES:
            return Mark.FILEMARK
        length = self._length_at(start)
        if length & _DAMAGED:
            raise DamagedError(f"{self.name}: block {self._block - 1} can't be read", reason="io-error")
        return self._read(start + _LENGTH_BYTES, length)

    def write_record(self, record: bytes) -> None:
        """See Drive."""
        if not 0 < len(record) <= _MOST_RECORD:
            raise PlaceError(f"{self.name}: a record of {len(record)} bytes can't be written")
        length = len(record).to_bytes(_LENGTH_BYTES, "little")
        self._write([length, record, bytes(len(record) % 2), length])

    def write_filemark(self) -> None:
        """See Drive."""
        self._write([_FILEMARK])
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _translated(error, self.name) from error

    def rewind(self) -> None:
        """See Drive."""
        self._block = 0

    def locate(self, block: int) -> None:
        """See Drive."""
        if block < 0 or (block and not self._known(block - 1)):
            raise PlaceError(f"{self.name}: there is no block {block}", block=block)
        self._block = block

    def locate_end(self) -> None:
        """See Drive."""
        while self._known(len(self._starts) - 1):
            pass
        self._block = len(self._starts) - 1

    def position(self) -> int | None:
        """See Drive."""
        return self._block

    def is_blank(self) -> bool:
        """See Drive."""
        self._block = 0
        return self._size == 0

    def status(self) -> DriveStatus:
        """See Drive."""
        return DriveStatus(write_protected=self._protected)

    def alerts(self) -> Sequence[str]:
        """See Drive."""
        return ()

    def close(self) -> None:
        """See Drive."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _known(self, block: int) -> bool:
        """Whether there is this block: whole, with the same length before and behind it."""
        while len(self._starts) - 1 <= block:
            start = self._starts[-1]
            if start + _LENGTH_BYTES > self._size:
                return False
            length = self._length_at(start) & ~_DAMAGED
            end = start + (2 * _LENGTH_BYTES + length + length % 2 if length else _LENGTH_BYTES)
            if length > _MOST_RECORD or end > self._size:
                return False
            if length and self._length_at(end - _LENGTH_BYTES) != self._length_at(start):
                return False
            self._starts.append(end)
        return True

    def _length_at(self, offset: int) -> int:
        return int.from_bytes(self._read(offset, _LENGTH_BYTES), "little")

    def _read(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise DamagedError(f"{self.name}: {error.strerror} at {offset}", reason="io-error") from error
        if len(data) < length:
            raise DamagedError(f"{self.name}: ends at {offset + len(data)}", reason="io-error")
        return data

    def _write(self, parts: list[bytes]) -> None:
        if self._protected:
            raise AccessError(f"{self.name}: the volume is write-protected", path=self.name)
        size = sum(map(len, parts))
        start = self._starts[self._block]
        if start + size > self._end.capacity_bytes:
            raise EndOfTapeError(f"{self.name}: end of tape", volume=self.name)
        self._refused = not self._refused and start + size > (
            self._end.capacity_bytes - self._end.warning_bytes
        )
        if not self._refused or self._end.keeps_refused:
            self._append(start, size, parts)
        if self._refused:
            raise EndOfTapeError(f"{self.name}: the end of the tape is near", volume=self.name)

    def _append(self, start: int, size: int, parts: list[bytes]) -> None:
        try:
            if self._size > start:
                os.ftruncate(self._fd, start)
                self._size = start
                del self._starts[self._block + 1 :]
                self._written_back = min(self._written_back, start)
            if os.pwritev(self._fd, parts, start) < size:
                os.ftruncate(self._fd, start)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if start + size - self._written_back >= _WRITE_BACK_BYTES:
                # Begins to write to the disk now, as a drive does, not only at the filemark.
                length = start + size - self._written_back
                os.posix_fadvise(self._fd, self._written_back, length, os.POSIX_FADV_DONTNEED)
                self._written_back = start + size
        except OSError as error:
            raise _translated(error, self.name) from error
        self._size = start + size
        self._starts.append(self._size)
        self._block += 1


def _translated(error: OSError, path: str) -> BackupError:
    """The file system below is what fails, not the tape."""
    text = f"{path}: {error.strerror}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(text, path=path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PlaceFullError(text, path=path)
    if error.errno == errno.EWOULDBLOCK:
        return PlaceUnavailableError(f"{path}: another drive has this volume", path=path)
    return PlaceUnavailableError(text, path=path)
