"""Files that several messages are names of, as long as a restore goes on: each has one more name, made of
what its names have in common, in a directory of the same file system.

Workers and their attempts share that directory, and who goes on with a restore that was ended early finds it
again, so that hard links are links again across folders, mailboxes and processes. It is gone when the restore
has ended. Where a file can't be linked (its names are as many as its file system allows, or it lies on
another one) the message becomes a file of its own: nothing depends on this directory.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from .directories import descend, is_maildir, make_directory, open_directory
from .location import SHARED, Location, is_below
from .opened import FileOpener, digest_of

_MOST_TRUSTED = 1 << 18
_MOUNTS = "/proc/self/mountinfo"
_ESCAPED = re.compile(rb"\\([0-7]{3})")


class KnownFiles:
    """The names in an open directory, which is closed with it."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._opener = FileOpener()
        self._trusted: set[str] = set()
        """Those whose content this process has written or compared: after a crash others may be damaged."""

    def link(self, key: str, digest: bytes, directory: int, name: bytes) -> bool:
        """Give the file that is known by this key another name; False if there is none, or it can't have
        one. Raises FileExistsError if the name is taken."""
        try:
            os.link(key, name, src_dir_fd=self._directory, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            return False
        if self._is_whole(key, digest, directory, name):
            return True
        os.unlink(name, dir_fd=directory)
        self.forget(key)
        return False

    def add(self, key: str, digest: bytes, directory: int, name: bytes) -> bool:
        """A file was written under this name: it is known by the key from now on. Where another process was
        faster, the name becomes one of the file that this one wrote. False if the file could not be added."""
        try:
            try:
                os.link(name, key, src_dir_fd=directory, dst_dir_fd=self._directory, follow_symlinks=False)
            except FileExistsError:
                if not self._adopted(key, digest, directory, name):
                    self._put(key, directory, name)
        except OSError:
            return False
        self._trust(key)
        return True

    def offer(self, key: str, directory: int, name: bytes) -> None:
        """A file that was there before may be what the key stands for; that is found out when it is used."""
        with suppress(OSError):
            os.link(name, key, src_dir_fd=directory, dst_dir_fd=self._directory, follow_symlinks=False)

    def forget_lone(self, key: str) -> None:
        """Let go of a file that has no other name (any more)."""
        with suppress(OSError):
            if os.stat(key, dir_fd=self._directory, follow_symlinks=False).st_nlink == 1:
                self.forget(key)

    def forget(self, key: str) -> None:
        """Let go of a file. Repeatable."""
        self._trusted.discard(key)
        with suppress(OSError):
            os.unlink(key, dir_fd=self._directory)

    def close(self) -> None:
        """Repeatable."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _adopted(self, key: str, digest: bytes, directory: int, name: bytes) -> bool:
        """Put the known file in the place of the one that was written. Raises OSError."""
        other = os.urandom(8).hex().encode()
        if not self.link(key, digest, self._directory, other):
            return False
        try:
            os.rename(other, name, src_dir_fd=self._directory, dst_dir_fd=directory)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(other, dir_fd=self._directory)
        return True

    def _put(self, key: str, directory: int, name: bytes) -> None:
        """Let the key stand for this file. Raises OSError."""
        other = os.urandom(8).hex()
        os.link(name, other, src_dir_fd=directory, dst_dir_fd=self._directory, follow_symlinks=False)
        os.rename(other, key, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _is_whole(self, key: str, digest: bytes, directory: int, name: bytes) -> bool:
        if key in self._trusted:
            return True
        if digest_of(self._opener, directory, name, len(digest)) != digest:
            return False
        self._trust(key)
        return True

    def _trust(self, key: str) -> None:
        if len(self._trusted) >= _MOST_TRUSTED:
            self._trusted.clear()
        self._trusted.add(key)


class SharedFiles:
    """The directories in which files are known for all mailboxes of a target: one on each file system, as far
    up as the target begins."""

    def __init__(self) -> None:
        self._opened: dict[bytes, KnownFiles | None] = {}

    def beside(self, location: Location, directory: int) -> KnownFiles | None:
        """Those for a mailbox whose files are built in this open directory; None where there can't be any:
        it is the whole target, or the directory on its file system can't be written."""
        above = self._above(location, os.fstat(directory).st_dev)
        if above is None:
            return None
        if above not in self._opened:
            self._opened[above] = self._open(location, above)
        return self._opened[above]

    def close(self) -> None:
        """Repeatable."""
        while self._opened:
            if (files := self._opened.popitem()[1]) is not None:
                files.close()

    def _above(self, location: Location, device: int) -> bytes | None:
        """The topmost directory above a mailbox that is on this file system."""
        if not location.below:
            return None
        path = location.anchor
        for name in location.below:
            with suppress(OSError):
                if os.stat(path).st_dev == device:
                    return path
            path = os.path.join(path, name)
        return None

    def _open(self, location: Location, path: bytes) -> KnownFiles | None:
        try:
            start = open_directory(location.anchor)
            try:
                names = path[len(location.anchor) :].strip(b"/").split(b"/")
                above = descend(start, tuple(filter(None, names)))
            finally:
                os.close(start)
            try:
                if is_maildir(above):
                    return None  # it would be a folder
                make_directory(above, SHARED, 0o700)
                directory = descend(above, (SHARED,))
            finally:
                os.close(above)
        except OSError:
            return None
        status = os.fstat(directory)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            os.close(directory)
            return None  # somebody else could put files into it
        with suppress(OSError):
            fcntl.flock(directory, fcntl.LOCK_SH)  # as long as somebody uses it, nobody removes it
        return KnownFiles(directory)


def forget_shared(anchor: bytes) -> None:
    """Remove these directories from a target that begins at ``anchor``, unless another restore uses them.
    Raises OSError where that fails."""
    for path in (anchor, *_mounted_below(os.path.realpath(anchor))):
        with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError), ExitStack() as stack:
            above = open_directory(path)
            stack.callback(os.close, above)
            directory = descend(above, (SHARED,))
            stack.callback(os.close, directory)
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(os.fsdecode(SHARED), dir_fd=above)


def _mounted_below(path: bytes) -> Iterator[bytes]:
    """Where file systems are mounted below a directory."""
    with open(_MOUNTS, "rb") as mounts:
        for line in mounts:
            place = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4])
            if place != path and is_below(path, place):
                yield place
