"""Files that are being written into a directory, until they are whole and get their names.

They lie in ``.arriving`` of the directory, so that what a writer that was killed has left is found without a
look at all the others; the next who opens the directory removes it. Their writers keep them locked.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress

from .publishing import publish

ARRIVING = ".arriving"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_RACES = 100


class Arrival:
    """A new file, open for writing as ``fd``, and its open directory."""

    def __init__(self, directory: int, name: str, fd: int) -> None:
        self.fd = fd
        self._directory = directory
        self._name = name

    def publish(self, directory: int, name: str) -> None:
        """Give it its name in an open directory. Raises FileExistsError, OSError."""
        publish(self._directory, self._name, directory, name)

    def replace(self, directory: int, name: str) -> None:
        """The same, durably, in the place of what has that name. Raises OSError."""
        os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=directory)
        os.fsync(directory)

    def close(self) -> None:
        """Remove it, unless it was published."""
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._directory)
        os.close(self.fd)
        os.close(self._directory)


def new_arrival(root: int) -> Arrival:
    """A new file of the open directory ``root``. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(ARRIVING, 0o700, dir_fd=root)
    directory = os.open(ARRIVING, _DIRECTORY, dir_fd=root)
    try:
        return _new(directory)
    except BaseException:
        os.close(directory)
        raise


def remove_leftovers(root: int) -> None:
    """Remove what nobody writes any more. A directory that can't be changed keeps it."""
    with suppress(OSError):
        directory = os.open(ARRIVING, _DIRECTORY, dir_fd=root)
        try:
            for name in os.listdir(directory):
                _remove_leftover(directory, name)
        finally:
            os.close(directory)


def _new(directory: int) -> Arrival:
    for _ in range(_MOST_RACES):
        name = secrets.token_hex(8)
        fd = os.open(name, _FILE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
        # Where there are no locks nobody can remove it either: see below.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_there(directory, name):
            return Arrival(directory, name, fd)
        os.close(fd)  # taken for a leftover before it was locked
    raise OSError(f"new files in {ARRIVING} are removed again and again")


def _is_there(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove_leftover(directory: int, name: str) -> None:
    with suppress(OSError):
        fd = os.open(name, _FILE | os.O_NONBLOCK, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=directory)
        finally:
            os.close(fd)
