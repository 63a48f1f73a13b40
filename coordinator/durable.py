"""Small files of the staging area that must survive a crash: replaced as a whole, and on the disk then."""

from __future__ import annotations

import os
from pathlib import Path

from ..proto.directories import make_private, sync_directory
from ..proto.errors import StagingError


def replace_durably(path: Path, data: bytes) -> None:
    """Put these bytes in the place of what a file holds: after a crash it has either, whole. Nobody
    else may read it. Its directory is made if there is none. Raises StagingError."""
    new = path.with_name(path.name + ".new")
    try:
        make_private(path.parent)
        new.touch(mode=0o600)
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file; none where there is no such file. Raises StagingError."""
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there. Raises StagingError."""
    try:
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be removed: {error.strerror}", path=str(path)) from error
