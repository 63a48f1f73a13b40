"""The id of a staging area, made once: what destinations are marked with, so that they are not mixed up. It
is kept beside the catalog, and told in README.txt, which goes to every destination.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from ..proto.directories import make_private, sync_directory
from ..proto.errors import StagingError
from ..worker.keepsake.readme import README, area_of

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def area_id(staging: Path) -> str:
    """The id of a staging area, which is made if it has none. Raises StagingError."""
    path = staging / ".mailhaul" / "area-id"
    try:
        make_private(path.parent)
        if not path.exists():
            _make(path, _told(staging) or os.urandom(16).hex())
        text = path.read_text("ascii", errors="replace").strip()
    except OSError as error:
        raise StagingError(
            f"{path}: the id of the staging area can't be had: {error.strerror}", path=str(path)
        ) from error
    if not _ID.fullmatch(text):
        raise StagingError(f"{path} is no id of a staging area", path=str(path))
    return text


def _told(staging: Path) -> str:
    """What README.txt says: it may have come back from a destination. Empty if it says nothing."""
    try:
        told = area_of((staging / README).read_bytes())
    except OSError:
        return ""
    return told if _ID.fullmatch(told) else ""


def _make(path: Path, made: str) -> None:
    """Whoever comes first makes it; it is whole when it has its name."""
    new = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{made}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
    sync_directory(path.parent)
