"""What changed in a backup between two moments: mailboxes, folders, single messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal

from ...groups.paths import LogicalPath, message_path
from ...proto.errors import DamagedError, ErasedError, NotFoundError
from ...proto.records import Skipped
from ...proto.structs import Record
from ...worker.archives.opened import OpenArchives
from ..backup_set import BackupSet
from ..history import MailboxVersion
from .comparison import Change, ChangedMessage, FolderDifference, changed_messages, folder_differences
from .header_text import header_date, header_text
from .levels import time_ns
from .metadata import MailboxFrames

State = Literal["came", "went", "changed"]


class MailboxDifference(Record, kw_only=True):
    """How a mailbox differs. ``came``, ``went`` and ``flags`` count messages of the ``folders``, of which
    there is none for a mailbox that was not there before, or is not there any more."""

    path: str
    state: State
    came: int
    went: int
    flags: int
    folders: tuple[FolderDifference, ...] = ()


class MessageDifference(Record, kw_only=True):
    """A message that came, went or got other flags. ``path`` names it at the moment that has it: the later
    one, but of one that went."""

    path: str
    change: Change
    date: datetime | None
    sender: str
    subject: str


class _Sides(Record):
    """A mailbox at both moments, None where it is not there."""

    whose: LogicalPath
    before: MailboxVersion | None
    after: MailboxVersion | None


class Comparison:
    """Two moments of a backup, side by side. ``damaged`` tells what could not be compared."""

    def __init__(
        self, archives: OpenArchives, before: BackupSet, after: BackupSet, path: LogicalPath
    ) -> None:
        """Raises NotFoundError if neither has anything that the path selects."""
        self.damaged: list[Skipped] = []
        self._archives = archives
        self._path = path
        old, new = _selected(before, path), _selected(after, path)
        if not old and not new:
            raise NotFoundError(f"{path}: the backup holds nothing of it, at neither time", path=str(path))
        self._sides = [self._side(old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]

    def mailboxes(self) -> Iterator[MailboxDifference]:
        """The mailboxes that differ, by partition and user."""
        for sides in self._sides:
            difference = self._whole(sides) if self._path.folder is None else None
            if difference is None:
                difference = self._by_folder(sides)
            if difference is not None:
                yield difference

    def messages(self) -> Iterator[MessageDifference]:
        """Each message that differs."""
        for sides in self._sides:
            try:
                before, after = self._opened(sides)
                for message in changed_messages(before, after, self._selects(before, after)):
                    yield _message(sides.whose, message)
            except ErasedError:
                continue
            except DamagedError as error:
                self._tell(sides, error)

    def _side(self, old: MailboxVersion | None, new: MailboxVersion | None) -> _Sides:
        (version, *_) = filter(None, (new, old))
        group = self._path.group or version.group
        return _Sides(LogicalPath(version.partition, group, version.user), old, new)

    def _whole(self, sides: _Sides) -> MailboxDifference | None:
        """A mailbox that only one side has: its counts tell all that there is to tell."""
        path = str(sides.whose)
        if sides.before is None and sides.after is not None:
            return MailboxDifference(path=path, state="came", came=sides.after.stored, went=0, flags=0)
        if sides.after is None and sides.before is not None:
            return MailboxDifference(path=path, state="went", came=0, went=sides.before.stored, flags=0)
        return None

    def _by_folder(self, sides: _Sides) -> MailboxDifference | None:
        try:
            before, after = self._opened(sides)
            folders = folder_differences(before, after, self._selects(before, after))
        except ErasedError:
            return None
        except DamagedError as error:
            self._tell(sides, error)
            return None
        if not folders:
            return None
        return MailboxDifference(
            path=str(sides.whose),
            state="changed",
            came=sum(folder.came for folder in folders),
            went=sum(difference.went for difference in folders),
            flags=sum(folder_difference.flags for folder_difference in folders),
            folders=tuple(folders),
        )

    def _opened(self, sides: _Sides) -> tuple[MailboxFrames | None, MailboxFrames | None]:
        if sides.before and sides.after and sides.before.archive == sides.after.archive:
            return None, None  # one archive tells of both
        before, after = (
            None if version is None else MailboxFrames(self._archives, version.archive, version.user)
            for version in (sides.before, sides.after)
        )
        return before, after

    def _selects(self, *sides: MailboxFrames | None) -> Callable[[str], bool]:
        names = {name for side in sides if side for name in side.folders}
        return self._path.resolve(names).selects_folder

    def _tell(self, sides: _Sides, error: DamagedError) -> None:
        self.damaged.append(Skipped(str(sides.whose), "metadata", error.message))


def _selected(backup: BackupSet, path: LogicalPath) -> dict[tuple[str, str], MailboxVersion]:
    try:
        return {(version.partition, version.user): version for version in backup.select(path)}
    except NotFoundError:
        return {}


def _message(whose: LogicalPath, message: ChangedMessage) -> MessageDifference:
    named = message.message.uid or message.message.base
    return MessageDifference(
        path=message_path(whose.partition or "", whose.group or "", whose.user or "", message.folder, named),
        change=message.change,
        date=header_date(message.terms.date) or time_ns(message.message.date_ns),
        sender=header_text(message.terms.sender),
        subject=header_text(message.terms.subject),
    )
