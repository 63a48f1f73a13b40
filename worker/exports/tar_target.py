"""``tar:FILE`` and ``tar:-``: what ``eml:DIR`` makes, as the members of one tar archive.

A stream can't take anything back: of a mailbox that is broken off, the messages stay in it that were sent
before. A file is listed before it gets its name.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO

from ...proto.errors import ConfigError, MessageUnavailable, StoreError
from ...proto.ports import FolderWriter, MailboxWriter
from ...proto.records import Folder, MailboxOutcome, Message, Skipped, StoredFile
from ..stores.template import is_template
from . import folder_index
from .file_names import folder_path, message_names, safe_name
from .message_head import read_head
from .tar_archive import TarArchive

_MEMORY_BYTES = 8 << 20
_READ_BYTES = 1 << 20


class TarTarget:
    """A MailTarget (see ``proto.ports``) of one archive for all mailboxes. Only mail is written, no other
    files of a mailbox. Raises ConfigError for a template."""

    def __init__(self, path: str) -> None:
        if is_template(path):
            raise ConfigError(
                f"tar:{path}: one file holds all mailboxes, so no {{user}} can stand in its name"
            )
        self._archive = TarArchive(path)
        self._mailbox = _Mailbox("")
        self._counts: Counter[str] = Counter()

    @contextmanager
    def open_mailbox(
        self,
        user: str,
        place: bytes = b"",  # noqa: ARG002 (how another store was laid out)
        layout: Sequence[Folder] = (),  # noqa: ARG002
    ) -> Iterator[MailboxWriter]:
        if self._mailbox.user != user:
            self._mailbox.close()
            self._mailbox = _Mailbox(user)
        begin = self._archive.position()
        before = self._mailbox.lengths()
        writer = _MailboxWriter(self._archive, self._mailbox)
        try:
            yield writer
        finally:
            if writer.committed:
                self._counts += writer.counts
            else:
                self._mailbox.cut(before)
                self._archive.take_back(begin)

    def finish(self) -> None:
        self._archive.finish(self._counts)

    def abandon(self) -> None:
        self._mailbox.close()
        self._archive.close()


class _Folder:
    """What is in the archive of a folder: names that no UID tells apart, the index, the newest date."""

    def __init__(self) -> None:
        self.names: set[bytes] = set()
        self.index: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 (closed below)
        self.newest_ns = 0


class _Mailbox:
    """What is in the archive of the mailbox that was opened last. Another part of it may be added."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.folders: dict[bytes, _Folder] = {}

    def lengths(self) -> dict[bytes, int]:
        """How long the indexes are."""
        return {name: folder.index.tell() for name, folder in self.folders.items()}

    def cut(self, lengths: dict[bytes, int]) -> None:
        """Back to what they were."""
        for name, folder in self.folders.items():
            folder.index.seek(lengths.get(name, 0))
            folder.index.truncate()

    def close(self) -> None:
        for folder in self.folders.values():
            folder.index.close()
        self.folders.clear()


class _MailboxWriter:
    def __init__(self, archive: TarArchive, mailbox: _Mailbox) -> None:
        self._archive = archive
        self._mailbox = mailbox
        self._opened: set[bytes] = set()
        self.counts: Counter[str] = Counter()
        self.committed = False

    def new_folder(self, name: str) -> Folder:
        return Folder(name=name, path=b"/".join(folder_path(name)))

    def open_folder(self, folder: Folder) -> FolderWriter:
        path = b"/".join((safe_name(self._mailbox.user), *folder_path(folder.name)))
        if path in self._opened:
            raise MessageUnavailable("two folders would become one", reason="leads-out")
        self._opened.add(path)
        if path not in self._mailbox.folders:
            self._mailbox.folders[path] = _Folder()
        return _FolderWriter(self._archive, path, self._mailbox.folders[path], self.counts)

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:  # noqa: ARG002 (only mail)
        return False

    def commit(self) -> None:
        self.committed = True

    def skipped(self) -> Sequence[Skipped]:
        return ()

    def outcome(self) -> MailboxOutcome:
        return MailboxOutcome()

    def without_modseq(self) -> int:
        return 0

    def listed(self) -> Mapping[str, int]:
        return {}  # one file for all mailboxes, which is listed before it gets its name


class _FolderWriter:
    def __init__(self, archive: TarArchive, path: bytes, folder: _Folder, counts: Counter[str]) -> None:
        self._archive = archive
        self._path = path
        self._folder = folder
        self._counts = counts

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        head, content = read_head(content)
        name = self._name(message, head.subject())
        # The size stands before the content, and whether that is whole is known behind it.
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as spool:
            try:
                for piece in content:
                    spool.write(piece)
                size = spool.tell()
                spool.seek(0)
                self._folder.index.write(folder_index.line(name, message))
            except OSError as error:
                raise StoreError(
                    f"{tempfile.gettempdir()}: {error.strerror}; TMPDIR names another"
                ) from error
            self._archive.add(self._path + b"/" + name, size, message.date_ns, _pieces(spool))
        self._counts[self._path.decode()] += 1
        self._folder.newest_ns = max(self._folder.newest_ns, message.date_ns)
        return True

    def finish(self) -> None:
        index = self._folder.index
        size = index.tell()
        index.seek(0)
        name = self._path + b"/" + folder_index.NAME
        self._archive.add(name, size, self._folder.newest_ns, _pieces(index))

    def _name(self, message: Message, subject: str) -> bytes:
        for name in message_names(message, subject):
            if message.uid or name not in self._folder.names:
                break
        if not message.uid:
            self._folder.names.add(name)
        return name


def _pieces(file: IO[bytes]) -> Iterable[bytes]:
    return iter(partial(file.read, _READ_BYTES), b"")
