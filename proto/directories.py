"""Directories that hold what nobody else may read, and what must not be lost: private, and durable."""

from __future__ import annotations

import os
from pathlib import Path

_PRIVATE = 0o700
_OTHERS = 0o077


def make_directories(path: Path) -> None:
    """Make a directory and those above it that are missing; nobody else may enter them, and they are durable,
    so that nothing is lost with them. What is there stays as it is. Raises OSError."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=_PRIVATE, exist_ok=True)
        sync_directory(one.parent)
    if not path.is_dir():
        path.mkdir()  # says what is wrong with it


def make_private(path: Path) -> None:
    """As ``make_directories``; and if the directory is there already, is ours, and is open to others, it is
    closed to them. Raises OSError."""
    make_directories(path)
    status = path.stat()
    if status.st_mode & _OTHERS and status.st_uid == os.geteuid():
        path.chmod(_PRIVATE)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
