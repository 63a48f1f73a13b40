"""Where a drill restores mailboxes: a directory for each, which nobody else may enter, removed when the
mailbox is done.

A drill that is killed can't do that. So each directory is locked as long as its drill lives, and each drill
removes what it finds unlocked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...proto.errors import ConfigError, StagingError

_PREFIX = "mailhaul-drill."
_ENTERED = 0o711
"""Of the directory above: a mail server that works as another user must get through it, and sees no names."""
_OTHERS_WRITE = 0o022


class Scratch:
    """The directory of a drill. ``reserve_bytes`` of its file system stay free."""

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        """Make it, if it is not there, and remove what earlier drills have left. Raises ConfigError for one
        that somebody else can write to, StagingError."""
        self._root = root
        self._reserve_bytes = reserve_bytes
        try:
            if not os.path.lexists(root):
                root.mkdir(mode=_ENTERED, parents=True)
                root.chmod(_ENTERED)  # whatever the umask says
            there = root.lstat()
            if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.geteuid():
                raise ConfigError(
                    f"drill.scratch = {str(root)!r}: expected a directory of the user who drills"
                )
            if there.st_mode & _OTHERS_WRITE:
                raise ConfigError(f"drill.scratch = {str(root)!r}: others may write to it")
            self.left_behind = self._remove_leftovers()
        except OSError as error:
            raise StagingError(f"{root}: {error.strerror}", path=str(root)) from error

    def room_bytes(self) -> int:
        """How much may be put there. Raises StagingError."""
        try:
            return shutil.disk_usage(self._root).free - self._reserve_bytes
        except OSError as error:
            raise StagingError(f"{self._root}: {error.strerror}", path=str(self._root)) from error

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A new directory, which goes with the context. Raises StagingError, also where something of it could
        not be removed."""
        try:
            place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
            lock = _lock(place)
        except OSError as error:
            raise StagingError(f"{self._root}: {error.strerror}", path=str(self._root)) from error
        try:
            yield place
        finally:
            try:
                _remove(place)
            except KeyboardInterrupt:
                _remove(place)  # who stops a drill while it removes mail finds none left, either
                raise
            finally:
                os.close(lock)

    def _remove_leftovers(self) -> int:
        count = 0
        for place in self._root.glob(f"{_PREFIX}*"):
            with suppress(BlockingIOError, FileNotFoundError, NotADirectoryError):
                lock = _lock(place)
                try:
                    _remove(place)
                    count += 1
                finally:
                    os.close(lock)
        return count


def _remove(place: Path) -> None:
    """Raises StagingError."""

    def again(function: object, path: str, _: object) -> None:
        # A directory came back with a mode that does not let even its owner write.
        with suppress(OSError):
            os.chmod(os.path.dirname(path), stat.S_IRWXU)
            if function is not os.unlink:
                os.chmod(path, stat.S_IRWXU)

    shutil.rmtree(place, onerror=again)
    if place.exists():
        shutil.rmtree(place, ignore_errors=True)
    if place.exists():
        raise StagingError(f"{place}: restored mail can't be removed; do that by hand", path=str(place))


def _lock(place: Path) -> int:
    """Hold the lock of a directory until the descriptor is closed, or this process ends. Raises OSError,
    BlockingIOError if a drill has it."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
