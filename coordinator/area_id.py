"""The id of a staging area, made once: what destinations are marked with, so that they are not mixed up."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from ..proto.directories import make_private, sync_directory
from ..proto.errors import StagingError

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


def area_id(staging: Path) -> str:
    """The id of a staging area, which is made if it has none. Raises StagingError."""
    path = staging / ".mailhaul" / "area-id"
    try:
        make_private(path.parent)
        if not path.exists():
            _make(path)
        text = path.read_text("ascii", errors="replace").strip()
    except OSError as error:
        raise StagingError(
            f"{path}: the id of the staging area can't be had: {error.strerror}", path=str(path)
        ) from error
    if not _ID.fullmatch(text):
        raise StagingError(f"{path} is no id of a staging area", path=str(path))
    return text


def _make(path: Path) -> None:
    """Whoever comes first makes it; it is whole when it has its name."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{secrets.token_hex(8)}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
    sync_directory(path.parent)
