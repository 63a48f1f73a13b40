"""What a backup holds, level by level: partitions, groups, users, folders, messages, and one message's bytes.

Reads metadata only, but for ``one_message``. What is listed comes with its logical path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice

from ...groups.nearness import hint
from ...groups.paths import EVERYBODY, LogicalPath, message_path, whole_name
from ...proto.archive import stored
from ...proto.archive.assembly import Contents
from ...proto.archive.mailboxes import FolderEntry, Mailbox
from ...proto.errors import DamagedError, NotFoundError, UsageError
from ...proto.records import Message
from ...proto.structs import Record
from ...worker.archives.opened import OpenArchives
from ..backup_set import BackupSet
from ..history import MailboxVersion

_MOST_OF_ONE_NAME = 10
"""So many messages of one name are told apart in an error."""

_EPOCH = datetime.fromtimestamp(0, UTC)
_FLAG_NAMES = {
    "D": "\\Draft",
    "F": "\\Flagged",
    "P": "$Forwarded",
    "R": "\\Answered",
    "S": "\\Seen",
    "T": "\\Deleted",
}


_LEFT_OUT = {
    "excluded": "the folder was excluded from the backup",
    "not-asked": "the folder was not asked for, and never stored before,",
}


class Heading(Record, kw_only=True):
    """A partition or group and what it holds: each mailbox once, as it was last stored."""

    path: str
    users: int
    messages: int
    size_bytes: int


class StoredFolder(Record, kw_only=True):
    """A folder of a mailbox."""

    path: str
    name: str
    messages: int
    uidvalidity: int
    uidnext: int


class StoredMessage(Record, kw_only=True):
    """A message of a folder. ``flags`` are those of IMAP and the folder's keywords, by name; ``date`` is
    None for a time that no calendar has."""

    path: str
    uid: int
    name: bytes
    date: datetime | None
    size_bytes: int
    flags: tuple[str, ...]


def partitions(backup: BackupSet) -> list[Heading]:
    """Every partition. Raises NotFoundError if the backup holds nothing at all."""
    held = backup.select(LogicalPath())
    return [
        _heading(LogicalPath(name), (version for version in held if version.partition == name))
        for name in sorted({mailbox_version.partition for mailbox_version in held})
    ]


def groups(backup: BackupSet, path: LogicalPath) -> list[Heading]:
    """Every group of a partition, the predefined one last. Raises NotFoundError."""
    backup.select(path)
    names = {version.group for version in backup.versions if path.selects_partition(version.partition)} - {
        EVERYBODY
    }
    chosen = [LogicalPath(path.partition, name) for name in (*sorted(names), EVERYBODY)]
    return [_heading(logical_path, backup.select(logical_path)) for logical_path in chosen]


def users(backup: BackupSet, path: LogicalPath) -> list[tuple[str, MailboxVersion]]:
    """Every mailbox of a group with its path, by user. Raises NotFoundError."""
    found = sorted(backup.select(path), key=lambda one: (one.partition, one.user))
    return [(str(LogicalPath(version.partition, path.group, version.user)), version) for version in found]


def mailboxes_of(backup: BackupSet, path: LogicalPath, user: str) -> list[tuple[str, MailboxVersion]]:
    """Every mailbox of a user below a path, in each of its groups, with its path; a name without a domain
    stands for every user of that name. Raises NotFoundError."""
    newest: dict[str, MailboxVersion] = {}
    for version in backup.matching(path):
        if user in (version.user, version.user.rpartition("@")[0]):
            place = str(LogicalPath(version.partition, version.group, version.user))
            if place not in newest or newest[place].run < version.run:
                newest[place] = version
    if not newest:
        near = hint(user, (one.user for one in backup.versions))
        raise NotFoundError(f"{path}: the backup holds no mailbox of {user!r}{near}", user=user)
    return sorted(newest.items())


def _heading(path: LogicalPath, versions: Iterable[MailboxVersion]) -> Heading:
    versions = list(versions)
    return Heading(
        path=str(path),
        users=len(versions),
        messages=sum(version.stored for version in versions),
        size_bytes=sum(mailbox_version.size_bytes for mailbox_version in versions),
    )


class StoredMailbox:
    """One mailbox of a backup, for browsing. Methods raise DamagedError where its metadata is."""

    def __init__(self, archives: OpenArchives, backup: BackupSet, path: LogicalPath) -> None:
        """The mailbox that a path with a user leads to. Raises NotFoundError, DamagedError."""
        (self.version,) = backup.select(path)
        self._read = stored.StoredMailbox(archives, self.version.archive, self.version.user)
        names = [folder.folder.name for folder in self._read.mailbox.folders]
        self._branches = branches(names)
        self._contents = Contents(archives.data)
        self._shared: dict[bytes, frozenset[bytes]] = {}
        self._whose = LogicalPath(self.version.partition, path.group, self.version.user)
        self.path = path.resolve(names)
        """The path, with what is known now of the mailbox's folders."""
        if self.path.folder is not None and not any(map(self.path.selects_folder, names)):
            raise no_such_folder(self.path, self._read.mailbox)

    def folders(self) -> list[StoredFolder]:
        """The folders that the path selects, but for the one that it names; by name."""
        return sorted(
            (
                self._folder(folder)
                for folder in self._read.mailbox.folders
                if self._is_below(folder.folder.name)
            ),
            key=lambda one: one.name,
        )

    def messages(self) -> Iterator[StoredMessage]:
        """The messages that the path selects in the folder that it names. Lazily. Raises NotFoundError for a
        path to a message that is not there."""
        found = False
        for entry, message in self._messages():
            found = True
            yield self._message(entry, message)
        if not found and self._names_message:
            raise self._no_such_message()

    def content(self) -> Iterator[bytes]:
        """The bytes of the one message that the path names.

        Raises UsageError if the path names something else, NotFoundError if there is no such message;
        DamagedError, after the last bytes, if they are not those that were stored.
        """
        if not self._names_message:
            raise UsageError(f"{self.path} is no message: `mailhaul ls {self.path}` lists what it holds")
        found: list[tuple[FolderEntry, Message]] = []
        try:
            found += islice(self._messages(), _MOST_OF_ONE_NAME)
        except DamagedError:
            if not found:
                raise
        if not found:
            raise self._no_such_message()
        if len(found) > 1:
            paths = ", ".join(self._message(*one).path for one in found)
            raise UsageError(f"{self.path}: several messages have this name: {paths}")
        return self._contents.message(found[0][1])

    @property
    def _names_message(self) -> bool:
        return self.path.uid is not None or self.path.name is not None

    def _no_such_message(self) -> NotFoundError:
        return NotFoundError(f"{self.path}: the folder has no such message", path=str(self.path))

    def _is_below(self, folder: str) -> bool:
        return folder != self.path.folder and not self._names_message and self.path.selects_folder(folder)

    def _messages(self) -> Iterator[tuple[FolderEntry, Message]]:
        for folder in self._read.mailbox.folders:
            if folder.folder.name == self.path.folder:
                for message in self._read.messages(folder, self.path.uid):
                    if self.path.selects_message(message.uid, message.base, message.suffix, message.place):
                        yield folder, message

    def _folder(self, entry: FolderEntry) -> StoredFolder:
        folder = entry.folder
        return StoredFolder(
            path=str(LogicalPath(self._whose.partition, self._whose.group, self._whose.user, folder.name)),
            name=folder.name,
            messages=entry.messages,
            uidvalidity=folder.uidvalidity,
            uidnext=folder.uidnext,
        )

    def _name(self, entry: FolderEntry, message: Message) -> bytes:
        """What tells a message without UID from the others of its folder."""
        if message.base in self._shared_names(entry):
            return whole_name(message.base, message.suffix, message.place)
        return message.base

    def _shared_names(self, entry: FolderEntry) -> frozenset[bytes]:
        """The lasting names that several messages of a folder have."""
        shared = self._shared.get(entry.folder.path)
        if shared is None:
            names: Counter[bytes] = Counter()
            with suppress(DamagedError):  # what is left of it is told apart
                names.update(message.base for message in self._read.messages(entry))
            shared = frozenset(name for name, count in names.items() if count > 1)
            self._shared[entry.folder.path] = shared
        return shared

    def _message(self, entry: FolderEntry, message: Message) -> StoredMessage:
        return StoredMessage(
            path=message_path(
                self._whose.partition or "",
                self._whose.group or "",
                self._whose.user or "",
                entry.folder.name,
                message.uid or self._name(entry, message),
                ambiguous=f"{entry.folder.name}/{message.uid}" in self._branches,
            ),
            uid=message.uid,
            name=message.base,
            date=time_ns(message.date_ns),
            size_bytes=message.size,
            flags=flag_names(message.flags, message.keywords),
        )


def no_such_folder(path: LogicalPath, mailbox: Mailbox) -> NotFoundError:
    """The error for a path to a folder that a version of a mailbox has not; it tells of one that was there
    and was left out."""
    whose = LogicalPath(path.partition, path.group, path.user)
    near = hint(path.folder or "", (folder.folder.name for folder in mailbox.folders))
    why = f"the mailbox has no such folder{near or f'; `mailhaul ls {whose}` lists what it has'}"
    for skip in mailbox.skipped:
        left_out = LogicalPath.parse(skip.path).folder if skip.reason in _LEFT_OUT else None
        if left_out is not None and f"{path.folder}/".startswith(f"{left_out}/"):
            why = f"{_LEFT_OUT[skip.reason]} when this was stored" + (
                f" ({skip.detail})" if skip.detail else ""
            )
    return NotFoundError(f"{path}: {why}", path=str(path))


def branches(folders: Iterable[str]) -> frozenset[str]:
    """The names of folders and of all that they lie below: a path to a message must not look like one."""
    split = (name.split("/") for name in folders)
    return frozenset("/".join(levels[:n]) for levels in split for n in range(1, len(levels) + 1))


def time_ns(nanoseconds: int) -> datetime | None:
    """A time of the archive format; None if no calendar has it."""
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None


def flag_names(letters: str, keywords: tuple[str, ...]) -> tuple[str, ...]:
    """The flags of a message by name, and its keywords."""
    return (*(_FLAG_NAMES.get(letter, letter) for letter in letters), *keywords)
