"""Whose archive a file is, as far as its first frame tells: without all that it takes to read an archive."""

from __future__ import annotations

from pathlib import Path

from ...proto.archive.files import LocalFile, RandomAccess
from ...proto.archive.frames import HEADER_BYTES, decode_header
from ...proto.errors import DamagedError, UnsupportedError
from ...proto.records import ArchiveId


def begins_foreign(file: RandomAccess, archive: ArchiveId) -> bool:
    """Whether the first frame of a file is one of another archive. (Of a damaged one that can't be told.)"""
    try:
        return decode_header(file.read_at(0, HEADER_BYTES), file.name).archive != archive
    except (DamagedError, UnsupportedError):
        return False


def is_there(file: Path, archive: ArchiveId) -> bool:
    """Whether a file of the staging area is there and does not begin as another archive than this one."""
    try:
        opened = LocalFile(str(file))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # it can't be read: that says nothing of what it is
    try:
        return not begins_foreign(opened, archive)
    finally:
        opened.close()
