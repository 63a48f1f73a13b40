"""A tar archive (POSIX pax) that is written forward, the same bytes for the same members: nothing in it tells
who made it, when and where."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from typing import BinaryIO

_MODE = 0o600
_NANO = 1_000_000_000


class TarStream:
    """Writes members to ``file``. Its methods raise OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.position = 0

    def add(self, name: bytes, size: int, mtime_ns: int, content: Iterable[bytes]) -> None:
        """A regular file, of exactly so many bytes."""
        member = tarfile.TarInfo(name.decode())
        member.size, member.mode = size, _MODE
        member.mtime = max(0, mtime_ns // _NANO)
        if mtime_ns < 0 or mtime_ns % _NANO:
            member.pax_headers = {"mtime": _seconds(mtime_ns)}
        self._write(member.tobuf(tarfile.PAX_FORMAT, "utf-8"))
        for piece in content:
            self._write(piece)
        self._write(bytes(-size % tarfile.BLOCKSIZE))

    def end(self) -> None:
        """Write the end, and all that waits in memory."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self.position % tarfile.RECORDSIZE))
        self._file.flush()

    def go_back(self, position: int) -> None:
        """Drop the members from a ``position`` on, where the file lets that be done."""
        self._file.seek(position)
        self._file.truncate()
        self.position = position

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.position += len(data)


def _seconds(nanoseconds: int) -> str:
    whole, rest = divmod(abs(nanoseconds), _NANO)
    return f"{'-' if nanoseconds < 0 else ''}{whole}.{rest:09}"
