"""The file of an archive that is being written: ``NAME.mha.EPOCH.partial``.

Owns its name, which says whose it is, its lock, and what of it is durable. What its bytes mean is the
business of ``proto.archive``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

from ...proto.archive.files import LocalFile
from ...proto.directories import make_directories, sync_directory
from ...proto.errors import FencedError, StagingError
from ..archives.names import PARTIAL
from .syncing import Syncer

_WRITE_BACK_BYTES = 8 << 20
_MOST_RACES = 100
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class PartialArchive:
    """An archive that the attempt with one epoch writes; ``open_partial`` makes one.

    Its name is a fence that survives a crash: who has a greater epoch renames it to its own, and is the only
    one that may seal it from then on. Its lock keeps a writer that is still alive, or stopped, from writing
    beside its successor: until it has let go, the successor is refused.

    To be used by one thread at a time; ``size`` and ``durable_bytes`` may be looked at from others.
    """

    def __init__(self, path: Path, epoch: int, fd: int, syncer: Syncer) -> None:
        self.path = path
        self.epoch = epoch
        self.durable_bytes = 0
        self._partial = partial_path(path, epoch)
        self._fd = fd
        self._syncer = syncer
        self._failure: StagingError | None = None
        there = os.fstat(fd)
        self._identity = there.st_dev, there.st_ino
        self.size = self._written_back = there.st_size

    @property
    def has_its_name(self) -> bool:
        """Whether the file is still known under its name: no later attempt has taken it, nobody removed it.
        Raises OSError."""
        try:
            there = os.lstat(self._partial)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == self._identity

    def open_reader(self) -> LocalFile:
        """What is there now, for reading. Raises StagingError."""
        try:
            return LocalFile(str(self._partial))
        except OSError as error:
            raise _failed("read", self._partial, error) from error

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it, or nothing: it may be tried again after a StagingError whose ``errno`` tells of a
        full disk. The StagingError of a checkpoint that could not be kept is raised here too."""
        self._check()
        at = end = self.size
        try:
            while end - at < len(data):
                end += os.pwrite(self._fd, data if end == at else memoryview(data)[end - at :], end)
        except OSError as error:
            self._cut(at)
            raise _failed("write", self._partial, error) from error
        self.size = end
        if end - self._written_back >= _WRITE_BACK_BYTES:
            # Starts writing to the disk now, while the processor goes on; left to itself the kernel would
            # gather it all and let the sync at the end wait. It also keeps the host's cache for its mail.
            os.posix_fadvise(self._fd, self._written_back, _WRITE_BACK_BYTES, os.POSIX_FADV_DONTNEED)
            self._written_back += _WRITE_BACK_BYTES

    def truncate(self, size: int) -> None:
        """Forget what lies behind. Raises StagingError."""
        self._syncer.forget(self)
        self._check()
        self._cut(size)

    def checkpoint(self) -> None:
        """Ask that all that is written becomes durable soon: at once, or when the pause of the syncer is
        over. Does not wait for it; ``durable_bytes`` tells what is.

        Raises FencedError if a later attempt has taken over; StagingError if the disk failed at an earlier
        checkpoint: what was not durable is lost then, and the file ends where it was for sure.
        """
        self._check()
        self.check_fence()
        self._syncer.ask(self)

    def seal(self) -> None:
        """Make it durable, then known under its final name, durably too; it is closed then.

        Raises FencedError if a later attempt has taken over, StagingError if that can't be done, or if there
        is an archive of this name already.
        """
        self._syncer.forget(self)
        self.sync()
        self._check()
        self.check_fence()
        try:
            if self.path.exists():
                raise FileExistsError(errno.EEXIST, "an archive of this name is there already")
            os.rename(self._partial, self.path)
        except OSError as error:
            self.check_fence()
            raise _failed("seal", self._partial, error) from error
        self.close()
        try:
            sync_directory(self.path.parent)
        except OSError as error:
            raise _failed("seal", self.path, error) from error

    def close(self) -> None:
        """Let go of the file, which stays for a later attempt. Repeatable."""
        if self._fd < 0:
            return
        self._syncer.forget(self)
        if self._failure is not None:
            with suppress(StagingError):
                self._cut(self.durable_bytes)
        fd, self._fd = self._fd, -1
        os.close(fd)

    def sync(self) -> None:
        """Make durable what is written by now; waits for it. A failure is raised by the next call."""
        if self._failure is not None:
            # A sync after one that failed may succeed although the data is gone.
            return
        size = self.size
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._failure = _failed("sync", self._partial, error)
        else:
            self.durable_bytes = size

    def _check(self) -> None:
        if self._failure is not None:
            self._cut(self.durable_bytes)
            raise self._failure

    def check_fence(self) -> None:
        """Raises FencedError if a later attempt has taken over, StagingError if somebody removed the file."""
        try:
            if self.has_its_name:
                return
            if self.path.exists() or max(_epochs(self.path), default=-1) > self.epoch:
                raise _fenced(self.path, self.epoch)
        except OSError as error:
            raise _failed("find", self._partial, error) from error
        raise StagingError(f"somebody has removed {self._partial}", path=str(self._partial))

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise _failed("cut", self._partial, error) from error
        self.size = size
        self.durable_bytes = min(self.durable_bytes, size)
        self._written_back = min(self._written_back, size)


def open_partial(path: Path, epoch: int, syncer: Syncer | None = None) -> PartialArchive | None:
    """The file of the archive ``path`` for the attempt with this epoch: a new one, or that of an earlier
    attempt with all that is in it, which is durable then. None if the archive is sealed already, durably.

    Raises FencedError if there is one of a greater epoch; StagingError if it can't be opened, and as long as
    another process still writes it: that one is fenced from now on. What still earlier attempts may have
    left is removed. Without a ``syncer`` it gets one of its own.
    """
    own = partial_path(path, epoch)
    try:
        make_directories(path.parent)
        for _ in range(_MOST_RACES):
            if path.exists():
                # Whoever renamed it may have died before its name was durable.
                sync_directory(path.parent)
                return None
            _claim(path, epoch)
            fd = _open_locked(own)
            if fd is not None:
                archive = PartialArchive(path, epoch, fd, syncer or Syncer())
                if _is_ours(path, epoch, archive):
                    return archive
                archive.close()
    except OSError as error:
        raise _failed("open", own, error) from error
    raise StagingError(f"can't open {own}: other attempts come in between, again and again", path=str(own))


def _claim(path: Path, epoch: int) -> None:
    """Fence off earlier attempts, by giving the file the name of this one; make it if there is none."""
    own = partial_path(path, epoch)
    newest = max(_epochs(path), default=-1)
    if newest > epoch:
        raise _fenced(path, epoch)
    with suppress(FileNotFoundError, FileExistsError):  # another attempt was faster
        if newest < 0:
            os.close(os.open(own, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600))
        elif newest < epoch:
            os.rename(partial_path(path, newest), own)
        sync_directory(path.parent)


def _open_locked(own: Path) -> int | None:
    """The file, if it is there. Raises StagingError if another process has it."""
    try:
        fd = os.open(own, _FLAGS)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise StagingError(f"another process still writes {own}", path=str(own)) from error
        raise
    return fd


def _is_ours(path: Path, epoch: int, archive: PartialArchive) -> bool:
    """Whether an opened file is the one to be written: no later attempt has come in between, and none
    before it can seal another one any more. Makes durable what is in it."""
    if not archive.has_its_name or max(_epochs(path)) > epoch:
        return False
    for earlier in _epochs(path):
        if earlier < epoch:
            partial_path(path, earlier).unlink(missing_ok=True)
    if path.exists():
        partial_path(path, epoch).unlink(missing_ok=True)
        return False
    archive.sync()
    return True


def partial_path(path: Path, epoch: int) -> Path:
    """Where the attempt with this epoch writes the archive ``path``."""
    return path.with_name(f"{path.name}.{epoch}{PARTIAL}")


def _epochs(path: Path) -> list[int]:
    """Those of all attempts that have a file for this archive. Raises OSError."""
    name = re.compile(rf"{re.escape(path.name)}\.([0-9]+){re.escape(PARTIAL)}", re.ASCII)
    return [int(found[1]) for one in os.listdir(path.parent) if (found := name.fullmatch(one))]


def _fenced(path: Path, epoch: int) -> FencedError:
    return FencedError(f"{path}: a later attempt has taken over", path=str(path), epoch=epoch)


def _failed(what: str, path: Path, error: OSError) -> StagingError:
    return StagingError(f"can't {what} {path}: {error.strerror}", path=str(path), errno=error.errno)
