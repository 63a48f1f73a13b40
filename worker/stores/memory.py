"""Mail in memory behind the ports of a mail store: for tests, and the shortest reading of what they promise.

It behaves as the store of a server does: a folder that is there gives new UIDs to what is added to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from blake3 import blake3

from ...proto.errors import MessageUnavailable, StoreError
from ...proto.ports import FolderReader, KnownFolder, KnownMailbox, MailboxReader, MailboxWriter
from ...proto.records import (
    FileStat,
    Folder,
    Listed,
    ListedFile,
    MailboxOutcome,
    MailboxSize,
    Message,
    Skipped,
    StoredFile,
)
from ...proto.structs import Mutable, field, replace
from .added_folder import added_folder
from .directories import checked_name, split
from .keywords import LETTERS, FlagNames, Translation, flags_of
from .links import stays_inside
from .listed_records import ListedRecords
from .message_places import lasting_names

_numbers = itertools.count(1)


class MemoryFolder(Mutable):
    """A folder and its messages with their bytes, by lasting name. Each one made has another ``number``."""

    folder: Folder
    messages: dict[bytes, tuple[Message, bytes]] = field(default_factory=dict)
    number: int = field(default_factory=_numbers.__next__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemoryFolder):
            return NotImplemented
        return (self.folder, self.messages) == (other.folder, other.messages)

    __hash__ = None  # type: ignore[assignment]


class MemoryMailbox(Mutable):
    """Folders by path, other files by (home, path)."""

    place: bytes = b""
    folders: dict[bytes, MemoryFolder] = field(default_factory=dict)
    files: dict[tuple[bool, bytes], tuple[StoredFile, bytes]] = field(default_factory=dict)

    def copy(self) -> MemoryMailbox:
        """One that can be changed without changing this one."""
        folders = {
            path: replace(folder, messages=dict(folder.messages)) for path, folder in self.folders.items()
        }
        return MemoryMailbox(self.place, folders, dict(self.files))


_MARK_BYTES = 16

Mail = dict[str, MemoryMailbox]
"""The mailboxes of a store by user; a store and a target over the same one see each other's mail."""


class MemoryStore:
    """A MailStore (see ``proto.ports``)."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail

    def users(self) -> Iterator[str]:
        return iter(sorted(self._mail))

    def left_out(self) -> Sequence[Skipped]:
        return ()

    def measure(self, user: str) -> MailboxSize:
        if user not in self._mail:
            return MailboxSize(user=user, messages=-1, size_bytes=0)
        folders = self._mail[user].folders.values()
        messages = [message for folder in folders for message, _ in folder.messages.values()]
        return MailboxSize(
            user=user, messages=len(messages), size_bytes=sum(message.size for message in messages)
        )

    @contextmanager
    def open_mailbox(
        self,
        user: str,
        known: KnownMailbox | None = None,
        wanted: Callable[[str], bool] = lambda _folder: True,
    ) -> Iterator[MailboxReader]:
        if user not in self._mail:
            raise StoreError(f"user {user!r} has no mailbox", user=user)
        yield _Mailbox(self._mail[user], known, wanted)


class _Mailbox:
    def __init__(
        self, mailbox: MemoryMailbox, known: KnownMailbox | None, wanted: Callable[[str], bool]
    ) -> None:
        self.place = mailbox.place
        self._mailbox = mailbox
        self._known = known
        self._wanted = wanted
        self._files_mark = b""

    def mark(self) -> bytes:
        if self.passed_over():
            return b""
        folders = sorted(self._mailbox.folders.items())
        facts = [(stored.folder, _Folder(stored, None).mark) for _, stored in folders]
        return blake3(repr((self.place, facts)).encode()).digest(length=_MARK_BYTES)

    def folders(self) -> Iterator[FolderReader]:
        earlier: dict[bytes, set[bytes]] = {}
        any_changed = False
        for path, stored in sorted(self._mailbox.folders.items()):
            if self._wanted(stored.folder.name):
                earlier[path] = set(stored.messages)
                folder = _Folder(stored, self._known_folder(path))
                any_changed = any_changed or not folder.unchanged
                yield folder
        for path, bases in earlier.items() if any_changed else ():
            now = self._mailbox.folders.get(path)
            if now is not None and not now.messages.keys() <= bases:
                yield _Folder(now, self._known_folder(path), without=bases)

    def passed_over(self) -> Sequence[str]:
        names = sorted(folder.folder.name for folder in self._mailbox.folders.values())
        return [name for name in names if not self._wanted(name)]

    def held_still(self) -> bool:
        return True

    def files(self) -> Iterator[ListedFile]:
        hashed = blake3()
        for (home, path), (file, _) in sorted(self._mailbox.files.items()):
            if home or not self._is_passed_over(path):
                facts = (home, path, file.target, file.owner, file.mtime_ns, file.size, file.digest)
                hashed.update(repr(facts).encode())
                yield ListedFile(path, home, file.target)
        self._files_mark = hashed.digest(length=_MARK_BYTES)

    def files_mark(self) -> bytes:
        return self._files_mark

    def open_file(self, file: ListedFile) -> _Opened:
        stored, content = self._stored(file)
        return _Opened(content, FileStat(len(content), stored.mtime_ns, stored.owner), None)

    def link_stat(self, file: ListedFile) -> FileStat:
        stored, _ = self._stored(file)
        return FileStat(0, stored.mtime_ns, stored.owner)

    def skipped(self) -> Sequence[Skipped]:
        return ()

    def _known_folder(self, path: bytes) -> KnownFolder | None:
        return self._known.folder(path) if self._known is not None else None

    def _is_passed_over(self, path: bytes) -> bool:
        """Whether a file lies in a folder that is not wanted, and in none below that."""
        while path:
            path = path.rpartition(b"/")[0]
            if path in self._mailbox.folders:
                return path != b"" and not self._wanted(self._mailbox.folders[path].folder.name)
        return False

    def _stored(self, file: ListedFile) -> tuple[StoredFile, bytes]:
        try:
            return self._mailbox.files[file.home, file.path]
        except KeyError:
            raise MessageUnavailable("the file is gone", reason="vanished") from None


class _Folder:
    """``without`` are the messages that an earlier look has told."""

    def __init__(
        self, stored: MemoryFolder, known: KnownFolder | None, without: set[bytes] | None = None
    ) -> None:
        self.folder = stored.folder
        self._stored = stored
        messages = [message for message, _ in stored.messages.values() if message.base not in (without or ())]
        numbered = sorted(messages, key=lambda one: (one.uid or 1 << 32, one.base))
        self._names = FlagNames(stored.folder.keywords)
        self._listed = [_listed(message, self._names) for message in numbered]
        identity = self._identity()
        self.mark = self._state() + identity if without is None else b""
        self.unchanged = bool(self.mark) and known is not None and self._is_as(known)
        self.complete = True
        self.trusted = known is not None and known.mark[_MARK_BYTES:] == identity

    def __len__(self) -> int:
        return len(self._listed)

    def messages(self) -> Iterator[Listed]:
        return iter(self._listed)

    def listing(self) -> ListedRecords:
        return ListedRecords(self._listed)

    def open_message(self, message: Listed) -> _Opened:
        now, content = self._now(message)
        listed = _listed(now, self._names)._replace(uid=message.uid, fields=message.fields)
        return _Opened(content, FileStat(len(content), now.date_ns, now.owner), listed)

    def stat(self, message: Listed) -> FileStat:
        now, content = self._now(message)
        return FileStat(len(content), now.date_ns, now.owner)

    def _now(self, message: Listed) -> tuple[Message, bytes]:
        if message.base not in self._stored.messages:
            raise MessageUnavailable("the message is gone", reason="vanished")
        return self._stored.messages[message.base]

    def _is_as(self, known: KnownFolder) -> bool:
        return (known.folder.path, known.mark) == (self.folder.path, self.mark)

    def _state(self) -> bytes:
        facts = repr((replace(self.folder, directories=()), self._listed)).encode()
        return blake3(facts).digest(length=_MARK_BYTES)

    def _identity(self) -> bytes:
        """Which folder it is; another one as soon as the server has begun to count anew."""
        return repr((self._stored.number, self.folder.uidvalidity, self.folder.guid)).encode()


def _listed(message: Message, names: FlagNames) -> Listed:
    flags, keywords = names.of(message.suffix)
    return Listed(message.base, message.suffix, message.place, message.uid, flags, message.fields, keywords)


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
    def open_mailbox(
        self, user: str, place: bytes = b"", layout: Sequence[Folder] = ()
    ) -> Iterator[MailboxWriter]:
        yield _MailboxWriter(self._mail, user, place, layout)

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _MailboxWriter:
    def __init__(self, mail: Mail, user: str, place: bytes, layout: Sequence[Folder]) -> None:
        self._mail = mail
        self._user = user
        self._layout = layout
        self._mailbox = mail[user].copy() if user in mail else MemoryMailbox(place)
        self._skipped: list[Skipped] = []

    def new_folder(self, name: str) -> Folder:
        return added_folder(name, self._layout)

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

    def listed(self) -> Mapping[str, int]:
        folders = self._mail[self._user].folders.values()
        return {folder.folder.name: len(folder.messages) for folder in folders}

    def skipped(self) -> Sequence[Skipped]:
        return self._skipped

    def outcome(self) -> MailboxOutcome:
        return MailboxOutcome()

    def without_modseq(self) -> int:
        return 0


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
        flags, keywords = FlagNames(translation.keywords).of(suffix)
        return replace(message, uid=max(1, folder.uidnext), suffix=suffix, flags=flags, keywords=keywords)
