"""Files that an operation was given: read once, when it is asked for, and kept with it as they were then.

They lie beside its lock, for the user of the coordinator alone, and are gone when it has ended. What is read
later is what was given, whatever has become of the file since.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ...proto.directories import make_private, sync_directory
from ...proto.errors import StagingError
from .files import file_of, place

MOST_BYTES = 64 << 20
"""No file is larger that an operation is given."""

_GIVEN = "given-"


def keep(staging: Path, number: int, files: Mapping[str, bytes]) -> None:
    """Keep what was given for some parameters of an operation, and nothing else, durably. Raises
    StagingError."""
    forget_given(staging, number)  # what was to be an operation of this id, and came to nothing
    for parameter, content in files.items():
        path = file_of(staging, number, f"{_GIVEN}{parameter}")
        try:
            make_private(path.parent)
            _write(path, content)
        except OSError as error:
            raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error
    if files:
        sync_directory(place(staging))


def given(staging: Path, number: int, parameter: str) -> Path | None:
    """The file that is kept for a parameter of an operation; None where there is none."""
    path = file_of(staging, number, f"{_GIVEN}{parameter}")
    return path if path.is_file() else None


def all_given(staging: Path) -> dict[int, list[Path]]:
    """All files that are kept, by operation."""
    found: dict[int, list[Path]] = {}
    for path in place(staging).glob(f"*.{_GIVEN}*"):
        number = path.name.partition(".")[0]
        if number.isdecimal():
            found.setdefault(int(number), []).append(path)
    return found


def forget_given(staging: Path, number: int) -> None:
    """Remove what is kept for an operation. What can't be removed goes with its other files
    (``files.forget_old``)."""
    for path in place(staging).glob(f"{number}.{_GIVEN}*"):
        with suppress(OSError):
            path.unlink()


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
