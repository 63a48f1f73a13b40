"""The directories in which the messages of a folder are written, and the names they get there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable

from ...proto.records import Message
from .directories import checked_name, descend_making
from .file_writer import FileWriter
from .listing import PLACES


def another_base(base: bytes) -> bytes:
    """A lasting name like this one that no other message has; the sizes it tells stay."""
    name, comma, sizes = base.partition(b",")
    return b"%s_%s%s%s" % (name[:150], secrets.token_hex(8).encode(), comma, sizes[:60])


class MessagePlaces:
    """``new`` and ``cur`` of a folder that is being built, open. Raises OSError."""

    def __init__(self, directory: int, files: FileWriter) -> None:
        self._files = files
        self._fds: dict[str, int] = {}
        for place in PLACES:
            self._fds[place] = descend_making(directory, (place.encode(),), 0o700)

    def add(self, message: Message, base: bytes, content: Iterable[bytes]) -> bytes | None:
        """Write a message under this lasting name, or another if it is taken; the one it got, or None if
        the same name with the same size is there already. Raises as ``FileWriter.write``."""
        directory = self._fds.get(message.place, self._fds["cur"])
        name = checked_name(base + message.suffix)
        try:
            self._files.write(directory, name, content, message.owner, message.date_ns)
        except FileExistsError:
            if os.stat(name, dir_fd=directory, follow_symlinks=False).st_size == message.size:
                return None
            return self.add(message, another_base(base), content)
        return base

    def close(self) -> None:
        """Repeatable."""
        while self._fds:
            os.close(self._fds.popitem()[1])
