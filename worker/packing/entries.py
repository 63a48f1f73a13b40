"""What a directory holds. ``_native.c`` has it in C: three system calls for a directory instead of nine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

FILE, DIRECTORY, LINK, OTHER = 8, 4, 10, 0
"""The kinds: the types of files as Linux numbers them (``d_type``, see readdir(3)), and all others."""

Entry = tuple[bytes, int, int]
"""Name, kind, inode."""

_ENCODING = sys.getfilesystemencoding()


def entries_in(directory: int) -> Iterator[Entry]:
    """What an open directory holds now; links are not followed. Raises OSError."""
    # Without this btrfs (since Linux 6.5) lists what was there when it was opened, and nothing that was put
    # there since, which POSIX (readdir) leaves open.
    os.lseek(directory, 0, os.SEEK_SET)
    with os.scandir(directory) as found:
        for one in found:
            if one.is_file(follow_symlinks=False):
                kind = FILE
            elif one.is_dir(follow_symlinks=False):
                kind = DIRECTORY
            else:
                kind = LINK if one.is_symlink() else OTHER
            yield one.name.encode(_ENCODING, "surrogateescape"), kind, one.inode()
