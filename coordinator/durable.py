"""Small files of the staging area that must survive a crash: replaced as a whole, and on the disk then."""

from __future__ import annotations

import os
from pathlib import Path

from ..proto.errors import StagingError
from ..proto.wire.files import sync_directory


def replace_durably(path: Path, data: bytes) -> None:
    """Put these bytes in the place of what a file holds: after a crash it has either, whole. Readable to all,
    as the catalog is. Its directory is made if there is none. Raises StagingError."""
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there. Raises StagingError."""
    try:
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be removed: {error.strerror}", path=str(path)) from error
