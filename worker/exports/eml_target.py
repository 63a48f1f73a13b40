"""``eml:DIR``: a file for each message, in a directory for each folder, with an index beside them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import BinaryIO

from blake3 import blake3

from ...proto.records import DIGEST_BYTES, Message, Ownership
from ..stores.directories import exists, names_in, unwritable
from ..stores.file_writer import FileWriter
from ..stores.notices import Notices
from . import folder_index
from .directory_target import DirectoryTarget
from .file_names import EML, message_names
from .message_head import read_head
from .staged_mailbox import Path, StagedMailbox

_MODE = 0o600
_READ_BYTES = 1 << 20


class EmlFolder:
    """A FolderWriter (see ``proto.ports``). A file that is there under the name of a message, with its
    content, is that message."""

    def __init__(self, staged: StagedMailbox, path: Path, notices: Notices) -> None:
        self._staged = staged
        self._path = path
        self._files = FileWriter(notices)
        self._owner = Ownership(_MODE, os.geteuid(), os.getegid())
        self._index: BinaryIO | None = None
        self._listed: frozenset[bytes] = frozenset()
        self._met: set[bytes] = set()
        self._directory = staged.directory(path)
        try:
            self._there = staged.there(path)
        except OSError:
            os.close(self._directory)
            raise

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        head, content = read_head(content)
        try:
            for name in message_names(message, head.subject()):
                if self._there >= 0 and exists(self._there, name):
                    if name not in self._met and self._holds(name, message):
                        self._met.add(name)
                        return False
                    continue
                try:
                    self._files.write(self._directory, name, content, self._owner, message.date_ns)
                except FileExistsError:
                    continue
                self._note(name, message)
                break
        except OSError as error:
            raise unwritable(error, b"/".join(self._path)) from error
        return True

    def finish(self) -> None:
        try:
            if self._there < 0:
                self._open_index()
            self.close()
        except OSError as error:
            raise unwritable(error, folder_index.NAME) from error
        self._files.report()

    def listed(self) -> int:
        there = self._staged.there(self._path)
        if there < 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            return sum(name.endswith(os.fsencode(EML)) for name in names_in(there))
        finally:
            os.close(there)

    def close(self) -> None:
        for fd in (self._directory, self._there):
            if fd >= 0:
                os.close(fd)
        self._directory = self._there = -1
        if self._index is not None:
            self._index.close()

    def _note(self, name: bytes, message: Message) -> None:
        """Add a message to the index, unless an earlier attempt has, which was ended before its file came."""
        index = self._open_index()
        if name not in self._listed:
            index.write(folder_index.line(name, message))

    def _open_index(self) -> BinaryIO:
        if self._index is None:
            if there := self._staged.open_there(self._path, folder_index.NAME):
                with there:
                    self._listed = folder_index.names_in(there)
            self._index = self._staged.grow(self._path, folder_index.NAME)
        return self._index

    def _holds(self, name: bytes, message: Message) -> bool:
        """Whether a file that is there holds this message."""
        file = self._staged.open_there(self._path, name)
        if file is None:
            return False
        with file:
            if os.fstat(file.fileno()).st_size != message.size:
                return False
            digest = blake3()
            while data := file.read(_READ_BYTES):
                digest.update(data)
        return digest.digest(length=DIGEST_BYTES) == message.digest


def eml_target(path: str) -> DirectoryTarget:
    """Raises ConfigError for a template that is none."""
    return DirectoryTarget(path, EmlFolder)
