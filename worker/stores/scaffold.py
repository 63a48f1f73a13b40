"""Temporary trees: what is restored is built beside its place, made durable, and only then put there.

A tree lives in a directory whose name begins with ``.mailhaul-restore-``. As long as its process lives,
that directory is locked; one that is not locked was left by a process that was killed, and is removed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from .attributes import remove_lists
from .directories import descend, exists, is_directory, joined, make_directory, names_in, opened
from .location import RESERVED, SHARED

TREE = b"tree"
"""What a tree is called in its temporary directory."""

_PAUSE_SECONDS = 0.05

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_LAST = {b"cur": 1, b"new": 2}


class Scaffold:
    """A temporary directory ``fd`` in ``parent``, and in it ``top``, where a tree is built. Its methods
    raise OSError."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self.top = -1
        self._name, self.fd = _make_locked(parent)
        try:
            # What is made in it gets the access list that it is to have, and none from the directory around.
            remove_lists(self.fd)
            make_directory(self.fd, TREE, 0o700)
            self.top = descend(self.fd, (TREE,))
        except BaseException:
            self.remove()
            raise

    def sync(self) -> None:
        """Everything written so far survives a crash."""
        if not _sync_file_system(self.fd):
            _sync_tree(self.fd)

    def become(self, parent: int, name: bytes) -> None:
        """Put the whole tree into place under a name that there must not be, or stand for an empty
        directory."""
        os.rename(TREE, name, src_dir_fd=self.fd, dst_dir_fd=parent)
        os.fsync(parent)

    def merge(self, target: int, kept: Callable[[bytes], None]) -> list[bytes]:
        """Put what the tree holds into a directory that exists; tells the directories that were there
        already. What else is there stays, and is told to ``kept``."""
        merged: list[bytes] = []
        _merge(self.top, target, b"", kept, merged)
        return merged

    def remove(self) -> None:
        """Remove what is left. Repeatable."""
        if self.fd < 0:
            return
        shutil.rmtree(self._name, ignore_errors=True, dir_fd=self._parent)
        if self.top >= 0:
            os.close(self.top)
        os.close(self.fd)
        self.fd = self.top = -1


def wait_for_others(parent: int, patience_seconds: float) -> bool:
    """Wait until nobody has a tree in a directory; False if that takes longer than the patience. Raises
    OSError."""
    until = time.monotonic() + patience_seconds
    while any(_is_in_use(parent, name) for name in names_in(parent)):
        if time.monotonic() >= until:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _is_in_use(parent: int, name: bytes) -> bool:
    """Whether this is a tree that a process works at."""
    if not name.startswith(RESERVED) or name == SHARED:
        return False
    try:
        fd = descend(parent, (name,))
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def remove_abandoned(parent: int) -> None:
    """Remove the trees that killed processes have left in a directory; not what a restore knows of files, for
    the one that goes on with it."""
    for name in names_in(parent):
        if name.startswith(RESERVED) and name != SHARED and is_directory(parent, name):
            try:
                fd = descend(parent, (name,))
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(name, ignore_errors=True, dir_fd=parent)
            except OSError:
                continue
            finally:
                os.close(fd)


def link_new(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Give a file or link a name in another directory of the same file system. Raises FileExistsError if
    the name is taken, OSError."""
    try:
        os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if exists(target, new_name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)


def make_durable(directory: int, name: bytes) -> None:
    """Write out one file. Raises OSError."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _make_locked(parent: int) -> tuple[bytes, int]:
    while True:
        name = RESERVED + os.urandom(8).hex().encode()
        os.mkdir(name, 0o700, dir_fd=parent)
        try:
            fd = descend(parent, (name,))
        except FileNotFoundError:
            continue
        # Where there are no locks nothing is taken for abandoned either.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        if exists(parent, name):
            return name, fd
        # Somebody took it for abandoned before it was locked.
        os.close(fd)


def _merge(source: int, target: int, path: bytes, kept: Callable[[bytes], None], merged: list[bytes]) -> None:
    merged.append(path)
    names = names_in(source)
    # Messages come last: whoever sees them finds the UID list that was restored with them.
    for name in sorted(names, key=lambda name: (_LAST.get(name, 0), name)):
        below = joined(path, name)
        if not is_directory(source, name):
            try:
                link_new(source, name, target, name)
            except FileExistsError:
                kept(below)
        elif not exists(target, name):
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        elif is_directory(target, name):
            with opened(source, (name,)) as inner, opened(target, (name,)) as into:
                _merge(inner, into, below, kept, merged)
        else:
            kept(below)
    os.fsync(target)


def _sync_file_system(fd: int) -> bool:
    """Write out everything that waits in memory for this file system; False if the system can't."""
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return False
    if syncfs(fd) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.ENOSYS:
        return False
    raise OSError(number, os.strerror(number))


def _sync_tree(fd: int) -> None:
    """Write out every file and directory of a tree, one by one."""
    for _, _, files, directory in os.fwalk(b".", dir_fd=fd):
        for name in files:
            if stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                make_durable(directory, name)
        os.fsync(directory)
