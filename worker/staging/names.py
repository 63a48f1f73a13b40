"""The names of archives in a staging area: ``PARTITION/GROUP/RUN.SHARD.mha``, made of safe names only; one
that was written anew is ``RUN.SHARD.gGENERATION.mha``.

Names come from other hosts, so a name that is not exactly of this form is no name, and no symbolic link
is followed on the way to a file.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ...groups.definitions import SAFE_NAME
from ...proto.errors import AccessError

PARTIAL = ".partial"
"""The end of the name of an archive that is being written."""

_ARCHIVE = re.compile(
    rf"{SAFE_NAME}/{SAFE_NAME}/[A-Za-z0-9][A-Za-z0-9-]{{0,63}}\.[0-9]{{1,9}}(?:\.g[1-9][0-9]{{0,8}})?\.mha",
    re.ASCII,
)
_GENERATION = re.compile(r"(?:\.g[1-9][0-9]{0,8})?\.mha$", re.ASCII)


def check_name(file: str) -> None:
    """Raises AccessError if this is no name of an archive."""
    if not _ARCHIVE.fullmatch(file):
        raise AccessError("this is no name of an archive in a staging area", file=file)


def generation_name(file: str, generation: int) -> str:
    """The name of an archive after it was written anew for the n-th time; ``file`` is any name of it."""
    return _GENERATION.sub(f".g{generation}.mha" if generation else ".mha", file)


def archive_path(area: Path, file: str) -> Path:
    """Where an archive of this name lies in a staging area; it need not exist.

    Raises AccessError if it is no such name, or if a directory on the way is a symbolic link or no
    directory at all.
    """
    check_name(file)
    path = area / file
    for directory in (path.parent.parent, path.parent):
        try:
            mode = os.lstat(directory).st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise AccessError(f"{directory}: {error.strerror}", file=file) from error
        if not stat.S_ISDIR(mode):
            raise AccessError(f"{directory} is no directory", file=file)
    return path
