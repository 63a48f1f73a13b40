"""``mbox:DIR``: one file for each folder, in a directory for each user."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import BinaryIO

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable
from ...proto.records import Message
from ..stores.directories import unwritable
from ..stores.notices import Notices
from .directory_target import DirectoryTarget
from .mbox_text import Held, count_messages, entry, strange_keywords
from .staged_mailbox import Path, StagedMailbox

_SUFFIX = b".mbox"


def file_of(root: bytes, path: Sequence[bytes]) -> bytes:
    """Where the mbox of a folder lies, in the directory of its user."""
    return b"/".join((root, *path)) + _SUFFIX


class MboxFolder:
    """A FolderWriter (see ``proto.ports``). Messages with the content of one that is there already are not
    added again."""

    def __init__(self, staged: StagedMailbox, path: Path, notices: Notices) -> None:
        *above, last = path
        self._name = last + _SUFFIX
        self._find = partial(staged.open_there, tuple(above), self._name)
        self._path = b"/".join(path)
        self._notices = notices
        self._grow = partial(staged.grow, tuple(above), self._name)
        self._file: BinaryIO | None = None
        self._held: Held | None = None
        self._unended = 0
        before = self._find()
        if before is None:
            self._file = self._grow()
            return
        with before:
            try:
                self._held = Held(before)
            except ValueError as error:
                message = f"{printable(self._path)} is there and no mbox: {error}"
                raise MessageUnavailable(message, reason="exists") from error

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        if self._held is not None and self._held.take(message.digest):
            return False
        try:
            if self._file is None:
                self._file = self._grow()
            self._write(self._file, message, content)
        except OSError as error:
            raise unwritable(error, self._path) from error
        if strange := strange_keywords(message):
            names = ", ".join(strange)
            self._notices.add(self._path, "keyword", f"messages come back without keywords: {names}")
        return True

    def finish(self) -> None:
        try:
            self.close()
        except OSError as error:
            raise unwritable(error, self._path) from error
        if self._unended:
            told = f"ended without a line end, and have one now: {self._unended} messages"
            self._notices.add(self._path, "line-end", told)

    def listed(self) -> int:
        file = self._find()
        if file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with file:
            return count_messages(file)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, file: BinaryIO, message: Message, content: Iterable[bytes]) -> None:
        begin = file.tell()
        try:
            for part in entry(message, content):
                file.write(part)
        except BaseException:
            # Half a message would be taken for a whole one.
            file.seek(begin)
            file.truncate()
            raise
        self._unended += part == b"\n\n"


def mbox_target(path: str) -> DirectoryTarget:
    """Raises ConfigError for a template that is none."""
    return DirectoryTarget(path, MboxFolder)
