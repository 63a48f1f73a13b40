"""The files below an open directory, reached level by level, so that no symbolic link leads elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...proto.errors import AccessError
from ..archives.names import check_file_name

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def parent_of(root: int, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The open directory that a file of this name lies in, below the open directory ``root``, and what it is
    called there. ``make``: durably made if it is not there.

    Raises FileNotFoundError, OSError; AccessError if a symbolic link is on the way.
    """
    *levels, last = name.split("/")
    directory = os.dup(root)
    try:
        for level in levels:
            below = _entered(directory, level, name, make=make)
            os.close(directory)
            directory = below
        yield directory, last
    finally:
        os.close(directory)


def _entered(directory: int, level: str, name: str, *, make: bool) -> int:
    if make:
        with suppress(FileExistsError):
            os.mkdir(level, 0o700, dir_fd=directory)
        # Also if it was there: whoever made it may have been killed before this.
        os.fsync(directory)
    try:
        return os.open(level, _DIRECTORY, dir_fd=directory)
    except NotADirectoryError:
        # So it is told of symbolic links as well.
        raise AccessError(f"{level} on the way to {name} is no directory", file=name) from None


def regular_size(directory: int, last: str, name: str) -> int | None:
    """The size of a file in an open directory; None if there is none. Raises AccessError if that is not a
    regular file, and OSError."""
    try:
        there = os.stat(last, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(there.st_mode):
        raise AccessError(f"{name} is no regular file", file=name)
    return there.st_size


def walk(root: int, prefix: str) -> Iterator[tuple[str, int]]:
    """The regular files below an open directory whose names begin so, with their sizes; only those that a
    file in a place may have. Raises OSError."""
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            directory = os.open(above or ".", _DIRECTORY, dir_fd=root)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went away meanwhile
        try:
            for entry in os.scandir(directory):
                name = f"{above}/{entry.name}" if above else entry.name
                if not _may_be(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if f"{name}/".startswith(prefix[: len(name) + 1]):
                        waiting.append(name)
                elif name.startswith(prefix) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        yield name, entry.stat(follow_symlinks=False).st_size
        finally:
            os.close(directory)


def _may_be(name: str) -> bool:
    try:
        check_file_name(name)
    except AccessError:
        return False
    return True
