"""The directories in which the messages of a folder are written, and the names they get there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import count

from ...proto.records import Listed, Message
from .directories import checked_name, descend_making
from .file_names import FileNames
from .file_writer import FileWriter, NewFiles
from .listing import PLACES

_OF_OTHERS = re.compile(rb",(?:U=\d+|FMD5=[0-9A-Fa-f]{32})(?=,|$)")


def lasting_names(base: bytes) -> Iterator[bytes]:
    """The lasting name that a message is to have, then others for it, in an order that is always the same:
    a later restore knows the message by them. The sizes that a name tells stay."""
    yield base
    begin, end = variant_parts(base)
    for number in count(1):
        yield b"%s%d%s" % (begin, number, end)


def portable_name(base: bytes) -> bytes:
    """The lasting name without what other programs have written into it and would read of it: the UID and
    folder of mbsync and OfflineIMAP (``U=``, ``FMD5=``). In a folder that has gone on meanwhile the UID is
    another message's, or one that they know to be expunged."""
    return _OF_OTHERS.sub(b"", base)


def variant_parts(base: bytes) -> tuple[bytes, bytes]:
    """How the other names for a message begin and end; a number stands between."""
    begin, comma, sizes = base.partition(b",")
    return begin[:150] + b"_r", comma + sizes[:60]


def is_variant(base: bytes, begin: bytes, end: bytes) -> bool:
    """Whether this is one of the other names that begin and end so."""
    return base.startswith(begin) and base.endswith(end) and base[len(begin) : len(base) - len(end)].isdigit()


class MessagePlaces:
    """``new`` and ``cur`` of a folder that is being built, open. Raises OSError.

    ``names`` are the files with several names.
    """

    def __init__(self, directory: int, files: FileWriter, names: FileNames) -> None:
        self._names = names
        self._fds: dict[str, int] = {}
        self._files: dict[str, NewFiles] = {}
        for place in PLACES:
            self._fds[place] = descend_making(directory, (place.encode(),), 0o700)
            self._files[place] = NewFiles(files, self._fds[place])

    def add(self, message: Message, base: bytes, content: Iterable[bytes]) -> bool:
        """Write a message under this lasting name; False if it is there already: the same name, the same
        size. Raises FileExistsError if another message has the name, and as ``NewFiles.write``."""
        place = message.place if message.place in self._fds else "cur"
        directory = self._fds[place]
        name = checked_name(base + message.suffix)
        try:
            if message.link and self._names.link(message, directory, name):
                return True
            self._files[place].write(name, content, message.owner, message.date_ns, message.attributes)
        except FileExistsError:
            if os.stat(name, dir_fd=directory, follow_symlinks=False).st_size == message.size:
                return False
            raise
        if message.link:
            self._names.written(message, directory, name)
        return True

    def take_over(self, there: Listed, directory: int, suffix: bytes) -> bool:
        """Link a message here that is in another ``directory`` already, with this suffix; whether that was
        possible. Raises FileNotFoundError if it is gone."""
        name, target = there.base + there.suffix, self._fds[there.place]
        try:
            os.link(name, there.base + suffix, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Repeatable."""
        while self._fds:
            os.close(self._fds.popitem()[1])
