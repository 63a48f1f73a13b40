"""A directory for each mailbox: what the targets have in common that write files into one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable, StoreError
from ...proto.ports import FolderWriter, MailboxWriter
from ...proto.records import Folder, MailboxOutcome, Skipped, StoredFile
from ..stores.directories import refused, unwritable
from ..stores.notices import Notices
from .file_names import folder_path
from .places import Places
from .staged_mailbox import Path, StagedMailbox


class ExportedFolder(FolderWriter, Protocol):
    """A FolderWriter (see ``proto.ports``) that may be let go before it is finished."""

    def listed(self) -> int:
        """How many messages the folder has where it was put, as a program finds that reads it. Raises
        OSError, ValueError for what is no mail, MessageUnavailable."""

    def close(self) -> None:
        """Let go. Repeatable."""


MakeFolder = Callable[[StagedMailbox, Path, Notices], ExportedFolder]
"""Begins a folder: in which mailbox, where in it, and who is told what can't be as it was. Raises OSError,
MessageUnavailable."""


class DirectoryTarget:
    """A MailTarget (see ``proto.ports``). Only mail is written, no other files of a mailbox."""

    def __init__(self, path: str, make_folder: MakeFolder) -> None:
        self._places = Places(path)
        self._make_folder = make_folder
        self._tidied: set[bytes] = set()

    @contextmanager
    def open_mailbox(
        self,
        user: str,
        place: bytes = b"",  # noqa: ARG002 (how another store was laid out)
        layout: Sequence[Folder] = (),  # noqa: ARG002
    ) -> Iterator[MailboxWriter]:
        location = self._places.of(user)
        above = os.path.dirname(location.path)
        with ExitStack() as stack:
            try:
                staged = StagedMailbox(location, tidy=above not in self._tidied)
            except OSError as error:
                raise refused(error, printable(location.path)) from error
            self._tidied.add(above)
            stack.callback(staged.close)
            writer = _MailboxWriter(staged, self._make_folder)
            stack.callback(writer.close)
            yield writer

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _MailboxWriter:
    def __init__(self, staged: StagedMailbox, make_folder: MakeFolder) -> None:
        self._staged = staged
        self._make_folder = make_folder
        self._notices = Notices()
        self._folders: dict[Path, ExportedFolder] = {}
        self._names: dict[Path, str] = {}

    def new_folder(self, name: str) -> Folder:
        return Folder(name=name, path=b"/".join(folder_path(name)))

    def open_folder(self, folder: Folder) -> FolderWriter:
        path = folder_path(folder.name)
        if path in self._folders:
            raise MessageUnavailable("two folders would become one", reason="leads-out")
        try:
            self._folders[path] = self._make_folder(self._staged, path, self._notices)
        except OSError as error:
            raise unwritable(error, b"/".join(path)) from error
        self._names[path] = folder.name
        return self._folders[path]

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:  # noqa: ARG002 (only mail)
        return False

    def commit(self) -> None:
        self.close()
        self._staged.commit()

    def skipped(self) -> Sequence[Skipped]:
        return self._notices.skipped

    def outcome(self) -> MailboxOutcome:
        return MailboxOutcome()

    def without_modseq(self) -> int:
        return 0

    def listed(self) -> Mapping[str, int]:
        counts = {}
        for path, folder in self._folders.items():
            try:
                counts[self._names[path]] = folder.listed()
            except OSError as error:
                raise refused(error, printable(b"/".join(path))) from error
            except (ValueError, MessageUnavailable) as error:
                raise StoreError(f"{printable(b'/'.join(path))}: {error}") from error
        return counts

    def close(self) -> None:
        for folder in self._folders.values():
            folder.close()
