"""Mailboxes as they were stored last (``KnownMailbox``), without an archive: remembered from a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mailhaul.proto.ports import MailboxReader, MailStore
from mailhaul.proto.records import DirectoryKind, Folder, ListedFile, Skipped
from mailhaul.proto.structs import Mutable, field


class Remembered(Mutable):
    """A KnownFolder. ``unchanged`` and ``trusted`` are what the reader said, ``listed`` how many messages it
    had to tell; ``asked`` counts the calls of ``bases``."""

    folder: Folder
    mark: bytes
    unchanged: bool
    trusted: bool
    names: list[bytes]
    listed: int
    asked: int = 0

    def bases(self) -> Iterator[bytes]:
        self.asked += 1
        return iter(self.names)


class Known(Mutable):
    """A KnownMailbox, and what else the reader said."""

    files_mark: bytes = b""
    mark: bytes = b""
    folders: dict[bytes, Remembered] = field(default_factory=dict)
    files: list[ListedFile] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def folder(self, path: bytes) -> Remembered | None:
        return self.folders.get(path)

    def directories(self) -> Iterator[tuple[bytes, str]]:
        for path, one in self.folders.items():
            yield path, one.folder.name
            for near in one.folder.directories:
                if near.kind is DirectoryKind.NEAR:
                    yield near.path, ""

    def listed_files(self) -> Iterator[ListedFile]:
        return iter(self.files)

    def __getitem__(self, name: str) -> Remembered:
        (found,) = [folder for folder in self.folders.values() if folder.folder.name == name]
        return found


def remember(
    store: MailStore,
    user: str,
    known: Known | None = None,
    wanted: Callable[[str], bool] = lambda _folder: True,
) -> Known:
    """Look at a mailbox as an incremental backup does: the messages of what is unchanged are taken over."""
    with store.open_mailbox(user, known, wanted) as mailbox:
        return remembered(mailbox, known)


def remembered(mailbox: MailboxReader, known: Known | None = None) -> Known:
    """What is to be remembered of an open mailbox."""
    now = Known(mark=mailbox.mark())
    for reader in mailbox.folders():
        before = known.folder(reader.folder.path) if known else None
        if reader.unchanged:
            assert before is not None
            assert reader.mark == before.mark != b""
            names, listed = before.names, 0
        else:
            names = [message.base for message in reader.messages()]
            listed = len(names)
        seen = now.folders.get(reader.folder.path)
        now.folders[reader.folder.path] = Remembered(
            reader.folder,
            reader.mark,
            reader.unchanged,
            reader.trusted,
            [*(seen.names if seen else ()), *names],
            listed,
        )
    now.files = list(mailbox.files())
    now.files_mark = mailbox.files_mark()
    now.passed_over = list(mailbox.passed_over())
    now.skipped = list(mailbox.skipped())
    return now
