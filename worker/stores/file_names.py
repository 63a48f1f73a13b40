"""Several names of one file: messages that were hard links of each other become that again."""

from __future__ import annotations

import os
from collections.abc import Callable

from blake3 import blake3

from ...proto.records import Message
from .directories import ownership, unwritable
from .file_writer import FileWriter
from .known_files import KnownFiles


class FileNames:
    """The messages of one mailbox that are names of files with several. ``known`` opens the files that are
    known, when the first such message comes; owners are as ``files`` gives them."""

    def __init__(self, files: FileWriter, known: Callable[[], KnownFiles]) -> None:
        self._files = files
        self._open = known
        self._known: KnownFiles | None = None
        self._added: set[str] = set()

    def link(self, message: Message, directory: int, name: bytes) -> bool:
        """Give the file of a message this name too, if another message was written that is the same file.
        Raises FileExistsError if the name is taken, StoreError."""
        return bool(message.link) and self._files_known().link(
            self._key(message), message.digest, directory, name
        )

    def written(self, message: Message, directory: int, name: bytes) -> None:
        """A message was written under this name."""
        if message.link and self._files_known().add(self._key(message), message.digest, directory, name):
            self._added.add(self._key(message))

    def present(self, message: Message, directory: int, name: bytes) -> None:
        """A message was there before, under this name."""
        if not message.link:
            return
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        owner = message.owner
        whose = (owner.mode & 0o777, *self._files.whose(owner), message.date_ns)
        there = ownership(status)
        if (there.mode & 0o777, there.uid, there.gid, status.st_mtime_ns) == whose:
            self._files_known().offer(self._key(message), directory, name)

    def keep(self) -> None:
        """The mailbox is in place."""
        self._added.clear()

    def close(self) -> None:
        """Let go of files that came to be in no mailbox. Repeatable."""
        while self._known and self._added:
            self._known.forget_lone(self._added.pop())

    def _files_known(self) -> KnownFiles:
        if self._known is None:
            try:
                self._known = self._open()
            except OSError as error:
                raise unwritable(error, b"") from error
        return self._known

    def _key(self, message: Message) -> str:
        """What the names of one file have in common. The number alone would not do: it may have been given
        anew to another file between two backups."""
        uid, gid = self._files.whose(message.owner)
        facts = (
            message.link,
            message.digest,
            message.size,
            message.date_ns,
            (message.owner.mode & 0o777, uid, gid),
            tuple(message.attributes),
        )
        return blake3(repr(facts).encode()).hexdigest(length=16)
