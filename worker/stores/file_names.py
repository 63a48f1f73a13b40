"""Several names of one file: messages that were hard links of each other become that again."""

from __future__ import annotations

import os
from typing import NamedTuple

from ...proto.records import Attributes, Message, Ownership
from .directories import opened

_MOST_FILES = 1 << 18
"""So many files with several names are remembered, the latest ones."""


class _File(NamedTuple):
    """What two names of one file have in common. The number alone would not do: it may have been given anew
    to another file between two backups."""

    link: int
    digest: bytes
    size: int
    date_ns: int
    owner: Ownership
    attributes: Attributes


class FileNames:
    """The files with several names that were written below the open directory ``top``."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._found: dict[_File, tuple[tuple[bytes, ...], bytes]] = {}

    def link(self, message: Message, directory: int, name: bytes) -> bool:
        """Give the file of a message this name too, if another message was written that is the same file.
        Raises FileExistsError if the name is taken."""
        where = self._found.get(_file(message))
        if where is None:
            return False
        above, other = where
        try:
            with opened(self._top, above) as source:
                os.link(other, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            return False  # too many names, or no such thing here: it becomes a file of its own
        return True

    def remember(self, message: Message, above: tuple[bytes, ...], name: bytes) -> None:
        """A message was written in this directory, under this name."""
        if message.link:
            self._found[_file(message)] = above, name
            if len(self._found) > _MOST_FILES:
                del self._found[next(iter(self._found))]


def _file(message: Message) -> _File:
    return _File(
        message.link,
        message.digest,
        message.size,
        message.date_ns,
        message.owner,
        message.attributes,
    )
