"""New files of keys: whole and durable under their names, and never in the place of another."""

from __future__ import annotations

from pathlib import Path

from ..directories import sync_directory
from ..errors import AccessError
from ..wire.files import new_file


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Make a file with this mode, durably; nothing is overwritten. Raises AccessError."""
    try:
        with new_file(path, mode) as write:
            write(data)
        sync_directory(path.absolute().parent)
    except FileExistsError as error:
        raise AccessError(
            f"{path}: is there already, and no key is ever overwritten", path=str(path)
        ) from error
    except OSError as error:
        raise AccessError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error
