"""Files of secrets that notices need: passwords, keys, URLs that are as good as a password."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ...proto.errors import AccessError

_MOST_BYTES = 64 << 10


def read_private(path: Path) -> str:
    """The text of a file that nobody else may read, without the line end at its end. Raises AccessError,
    which says nothing of what is in it."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise AccessError(f"{path}: {error.strerror}", path=str(path)) from None
    if mode & 0o077:
        raise AccessError(f"{path} lies open to others (mode {mode:04o}): chmod 600 {path}", path=str(path))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    text = text.strip("\r\n")
    if not text or "\x00" in text:
        raise AccessError(f"{path} holds no text", path=str(path))
    return text
