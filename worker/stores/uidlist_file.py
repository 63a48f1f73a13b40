"""The UID list of a folder, by the open directory that it lies in."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from . import uidlist
from .opened import FileOpener


@contextmanager
def opened_list(directory: int) -> Iterator[uidlist.UidList]:
    """The list as it is now. Raises OSError, MessageUnavailable."""
    fd, status = FileOpener().open_regular(directory, uidlist.NAME)
    try:
        yield uidlist.UidList(fd, status.st_size)
    finally:
        os.close(fd)


def lines_of(directory: int) -> list[bytes]:
    """The lines of the list, verbatim. Raises OSError, MessageUnavailable."""
    fd, status = FileOpener().open_regular(directory, uidlist.NAME)
    try:
        return os.pread(fd, status.st_size, 0).removesuffix(b"\n").split(b"\n")
    finally:
        os.close(fd)


def uids_of(directory: int, bases: Collection[bytes]) -> dict[bytes, int]:
    """The UIDs of the messages with these lasting names. Raises OSError, MessageUnavailable."""
    with opened_list(directory) as found:
        return {base: uid for uid, _, base in found.entries() if base in bases}
