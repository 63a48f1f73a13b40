"""The names of archives in a staging area: ``PARTITION/GROUP/RUN.SHARD.mha``, made of safe names only.

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

_ARCHIVE = re.compile(
    rf"{SAFE_NAME}/{SAFE_NAME}/[A-Za-z0-9][A-Za-z0-9-]{{0,63}}\.[0-9]{{1,9}}\.mha", re.ASCII
)


def check_name(file: str) -> None:
    """Raises AccessError if this is no name of an archive."""
    if not _ARCHIVE.fullmatch(file):
        raise AccessError("this is no name of an archive in a staging area", file=file)


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
