"""Where an archive is written: a file in the staging area, or a stream. Adapters of ArchiveSink."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from ...proto.errors import StagingError

PARTIAL = ".partial"
_SYNC_BYTES = 256 << 20
_WRITE_BACK_BYTES = 8 << 20


class StagedFile:
    """A file that has its final name only when it is whole and durable.

    Written as ``NAME.partial``; ``seal`` syncs, renames, syncs the directory. A crash of the program
    leaves the partial file; a crash of the machine at most ``_SYNC_BYTES`` less of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + PARTIAL)
        self._unsynced = 0
        self._length = 0
        self._written_back = 0
        try:
            _make_directories(path.parent)
            self._fd = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed("create", error) from error

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ArchiveSink."""
        self._unsynced += len(data)
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, memoryview(data)[written:])
        except OSError as error:
            raise self._failed("write", error) from error
        self._length += len(data)
        if self._length - self._written_back >= _WRITE_BACK_BYTES:
            # Starts writing to the disk now, while the processor goes on; left to itself the kernel would
            # gather it all and let the sync at the end wait. It also keeps the host's cache for its mail.
            os.posix_fadvise(self._fd, self._written_back, _WRITE_BACK_BYTES, os.POSIX_FADV_DONTNEED)
            self._written_back += _WRITE_BACK_BYTES

    def checkpoint(self) -> None:
        """See ArchiveSink. Without waiting for the disk at each mailbox: what the program wrote outlives
        the program, and a machine that crashed repeats the unit."""
        if self._unsynced >= _SYNC_BYTES:
            self._sync()

    def seal(self) -> str:
        """See ArchiveSink."""
        self._sync()
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
            if self._path.exists():
                raise FileExistsError(17, "an archive of this name is there already")
            os.rename(self._partial, self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            self._partial.unlink(missing_ok=True)
            raise self._failed("seal", error) from error
        return str(self._path)

    def abort(self) -> None:
        """See ArchiveSink."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._partial.unlink(missing_ok=True)

    def _sync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._failed("sync", error) from error
        self._unsynced = 0

    def _failed(self, what: str, error: OSError) -> StagingError:
        return StagingError(
            f"can't {what} {self._partial}: {error.strerror}", path=str(self._partial), errno=error.errno
        )


class StreamSink:
    """A stream, such as a pipe. Its end is the only sign that it was whole: the archive's footer."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ArchiveSink."""
        try:
            self._stream.write(data)
        except OSError as error:
            raise StagingError(f"can't write to {self._name}: {error.strerror}") from error

    def checkpoint(self) -> None:
        """See ArchiveSink. A stream can promise nothing."""

    def seal(self) -> str:
        """See ArchiveSink. Flushes; durability is the business of who reads the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            raise StagingError(f"can't write to {self._name}: {error.strerror}") from error
        return self._name

    def abort(self) -> None:
        """See ArchiveSink. The stream simply ends without a footer."""


def _make_directories(path: Path) -> None:
    """Make a directory and those above it; durable, so that no archive is lost with them."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    for one in missing:
        sync_directory(one.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
