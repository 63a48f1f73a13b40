"""A mailbox that may be as it was stored last, looked at by the names that it had then: one stat for each,
and no directory is opened or listed. What came, went or was renamed shows in the times of the directory
around it.

What is found is taken into the same marks as what a mailbox is found to hold when it is looked through.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...proto.ports import KnownMailbox
from ...proto.records import ListedFile
from .directories import joined
from .folder_state import ALL_PARTS
from .marks import DirectoriesMark, FilesMark


def take_in(root: int, known: KnownMailbox, mark: DirectoriesMark) -> None:
    """Take all directories of a known mailbox into a mark, and the lists of its folders. Raises OSError."""
    for path, folder in known.directories():
        names = [path or b"."]
        if folder:
            names += [joined(path, part) for part in ALL_PARTS]
        mark.add(path, [_status(root, name) for name in names])


def files(root: int, known: KnownMailbox, mark: FilesMark) -> Iterator[ListedFile]:
    """The files of the mailbox itself, each taken into a mark, in the order in which they were listed."""
    for file in known.listed_files():
        if file.home:
            continue
        try:
            mark.add(file, os.stat(file.path, dir_fd=root, follow_symlinks=False))
        except OSError:
            mark.add_unknown()
        yield file


def _status(root: int, path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return None
