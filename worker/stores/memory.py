"""Mail in memory behind the ports of a mail store: for tests, and the shortest reading of what they promise.

It behaves as the store of a server does: a folder that is there gives new UIDs to what is added to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ...proto.errors import MessageUnavailable, StoreError
from ...proto.ports import FolderReader, MailboxReader, MailboxWriter
from ...proto.records import (
    FileStat,
    Folder,
    Listed,
    ListedFile,
    MailboxSize,
    Message,
    Skipped,
    StoredFile,
)
from .directories import checked_name, split
from .keywords import LETTERS, Translation, flags_of
from .links import stays_inside
from .message_places import lasting_names


@dataclass
class MemoryFolder:
    """A folder and its messages with their bytes, by lasting name."""

    folder: Folder
    messages: dict[bytes, tuple[Message, bytes]] = field(default_factory=dict)


@dataclass
class MemoryMailbox:
    """Folders by path, other files by (home, path)."""

    place: bytes = b""
    folders: dict[bytes, MemoryFolder] = field(default_factory=dict)
    files: dict[tuple[bool, bytes], tuple[StoredFile, bytes]] = field(default_factory=dict)

    def copy(self) -> MemoryMailbox:
        """One that can be changed without changing this one."""
        folders = {path: MemoryFolder(one.folder, dict(one.messages)) for path, one in self.folders.items()}
        return MemoryMailbox(self.place, folders, dict(self.files))


Mail = dict[str, MemoryMailbox]
"""The mailboxes of a store by user; a store and a target over the same one see each other's mail."""


class MemoryStore:
    """A MailStore (see ``proto.ports``)."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail

    def users(self) -> Iterator[str]:
        return iter(sorted(self._mail))

    def measure(self, user: str) -> MailboxSize:
        if user not in self._mail:
            return MailboxSize(user=user, messages=-1, size_bytes=0)
        folders = self._mail[user].folders.values()
        messages = [message for folder in folders for message, _ in folder.messages.values()]
        return MailboxSize(
            user=user, messages=len(messages), size_bytes=sum(message.size for message in messages)
        )

    @contextmanager
    def open_mailbox(self, user: str) -> Iterator[MailboxReader]:
        if user not in self._mail:
            raise StoreError(f"user {user!r} has no mailbox", user=user)
        yield _Mailbox(self._mail[user])


class _Mailbox:
    def __init__(self, mailbox: MemoryMailbox) -> None:
        self.place = mailbox.place
        self._mailbox = mailbox

    def folders(self) -> Iterator[FolderReader]:
        for path in sorted(self._mailbox.folders):
            yield _Folder(self._mailbox.folders[path])

    def files(self) -> Iterator[ListedFile]:
        for home, path in sorted(self._mailbox.files):
            yield ListedFile(path, home, self._mailbox.files[home, path][0].target)

    def open_file(self, file: ListedFile) -> _Opened:
        stored, content = self._stored(file)
        return _Opened(content, FileStat(len(content), stored.mtime_ns, stored.owner), None)

    def link_stat(self, file: ListedFile) -> FileStat:
        stored, _ = self._stored(file)
        return FileStat(0, stored.mtime_ns, stored.owner)

    def skipped(self) -> Sequence[Skipped]:
        return ()

    def _stored(self, file: ListedFile) -> tuple[StoredFile, bytes]:
        try:
            return self._mailbox.files[file.home, file.path]
        except KeyError:
            raise MessageUnavailable("the file is gone", reason="vanished") from None


class _Folder:
    def __init__(self, stored: MemoryFolder) -> None:
        self.folder = stored.folder
        self._stored = stored
        messages = (message for message, _ in stored.messages.values())
        numbered = sorted(messages, key=lambda one: (one.uid or 1 << 32, one.base))
        self._listed = [_listed(message) for message in numbered]

    def __len__(self) -> int:
        return len(self._listed)

    def messages(self) -> Iterator[Listed]:
        return iter(self._listed)

    def open_message(self, message: Listed) -> _Opened:
        if message.base not in self._stored.messages:
            raise MessageUnavailable("the message is gone", reason="vanished")
        now, content = self._stored.messages[message.base]
        listed = replace(_listed(now), uid=message.uid, fields=message.fields)
        return _Opened(content, FileStat(len(content), now.date_ns, now.owner), listed)


def _listed(message: Message) -> Listed:
    return Listed(
        message.base, message.suffix, message.place, message.uid, flags_of(message.suffix), message.fields
    )


class _Opened:
    def __init__(self, content: bytes, stat: FileStat, listed: Listed | None) -> None:
        self.stat = stat
        self.listed = listed
        self._rest = content

    def read(self, size: int) -> bytes:
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        self._rest = b""


class MemoryTarget:
    """A MailTarget (see ``proto.ports``)."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail

    @contextmanager
    def open_mailbox(self, user: str, place: bytes = b"") -> Iterator[MailboxWriter]:
        yield _MailboxWriter(self._mail, user, place)


class _MailboxWriter:
    def __init__(self, mail: Mail, user: str, place: bytes) -> None:
        self._mail = mail
        self._user = user
        self._mailbox = mail[user].copy() if user in mail else MemoryMailbox(place)
        self._skipped: list[Skipped] = []

    def open_folder(self, folder: Folder) -> _FolderWriter:
        split(folder.path)
        stored = self._mailbox.folders.get(folder.path)
        if stored is None:
            stored = self._mailbox.folders[folder.path] = MemoryFolder(folder)
            return _FolderWriter(stored, folder, self._skipped, new=True)
        return _FolderWriter(stored, folder, self._skipped, new=False)

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:
        split(file.path)
        if (file.home, file.path) in self._mailbox.files:
            return False
        if file.target is not None and not stays_inside(file.path, file.target):
            raise MessageUnavailable("a symbolic link that leads out of the mailbox", reason="leads-out")
        self._mailbox.files[file.home, file.path] = file, b"".join(content)
        return True

    def commit(self) -> None:
        self._mail[self._user] = self._mailbox.copy()

    def skipped(self) -> Sequence[Skipped]:
        return self._skipped


class _FolderWriter:
    def __init__(self, stored: MemoryFolder, source: Folder, skipped: list[Skipped], *, new: bool) -> None:
        self._stored = stored
        self._source = source
        self._skipped = skipped
        self._new = new

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        checked_name(message.base + message.suffix)
        messages = self._stored.messages
        for base in lasting_names(message.base):
            if base not in messages:
                break
            if messages[base][0].size == message.size:
                return False
        message = replace(message, base=base)
        data = b"".join(content)
        messages[message.base] = (message if self._new else self._as_new(message)), data
        return True

    def finish(self) -> None:
        last = max((message.uid for message, _ in self._stored.messages.values()), default=0)
        folder = self._stored.folder
        self._stored.folder = replace(folder, uidnext=max(folder.uidnext, last + 1))

    def _as_new(self, message: Message) -> Message:
        """The message with a new UID and with the letters that its keywords have in this folder."""
        folder = self._stored.folder
        letters = set(flags_of(message.suffix)) & set(LETTERS)
        translation = Translation(self._source.keywords, letters, folder.keywords)
        self._skipped += [Skipped(folder.name, "keyword", name) for name in translation.left_out]
        self._stored.folder = replace(
            folder, keywords=tuple(translation.keywords), uidnext=folder.uidnext + 1
        )
        suffix = translation.suffix(message.suffix)
        return replace(message, uid=max(1, folder.uidnext), suffix=suffix, flags=flags_of(suffix))
