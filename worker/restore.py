"""The table of contents of a restore: mailboxes from the metadata of archives to the mail store.

    for each mailbox that was chosen
      find    its metadata, in the archive or an earlier one     proto.archive.stored
      for each folder
        read    the messages' pieces, each checked               proto.archive.reader
        write   each message under a temporary name              stores/
      write   the mailbox's other files
      commit  make it durable, then visible                      stores/

``restore_tasks`` is how engines dispatch it. It needs the archives and nothing else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from ..groups.paths import LogicalPath, message_path, printable
from ..proto.archive.assembly import Contents
from ..proto.archive.mailboxes import FolderEntry
from ..proto.archive.stored import StoredMailbox
from ..proto.errors import (
    DamagedError,
    FolderStoppedError,
    MessageUnavailable,
    PlaceError,
    StoreError,
    UnreadableError,
)
from ..proto.ports import FolderWriter, MailboxWriter, MailTarget, ProgressSink
from ..proto.records import (
    ArchiveId,
    Folder,
    Message,
    Progress,
    RestoreReport,
    Skipped,
    StoredFile,
    UidMap,
)
from .archives.opened import OpenArchives

_PROGRESS_MESSAGES = 64

_DELETED = "T"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """Messages of one folder, by lasting name and digest, and the folder that they are put into."""

    folder: str
    into: str
    messages: frozenset[tuple[bytes, bytes]]


class Extent(StrEnum):
    """How much of what was chosen is restored."""

    ALL = "all"
    FRAME = "frame"
    """The folders without their messages, and the other files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to restore of one mailbox as the metadata of ``archive`` tells of it: all of it, one folder (and
    what lies below), or one message.

    ``to_user`` is whose mailbox it becomes; ``place`` where its directory lies below the target's root,
    b"" for wherever the target puts that user. With ``into`` folders become new ones below that folder, and
    nothing but mail is restored. With ``rescues`` only these messages are restored, as new ones that are not
    marked as deleted.
    """

    archive: ArchiveId
    user: str
    to_user: str
    place: bytes = b""
    path: LogicalPath
    into: str = ""
    rescues: tuple[Rescue, ...] = ()
    extent: Extent = Extent.ALL


def restore(
    archives: OpenArchives,
    choices: Sequence[Choice],
    target: MailTarget,
    progress: ProgressSink,
) -> RestoreReport:
    """Restore the chosen parts of the chosen mailboxes, in this order; a mailbox may be chosen several times.

    What is damaged or can't be written is listed in the report and the rest goes on; so is a mailbox of which
    nothing is written, as it needs what can't be read where it lies now. Raises StoreError if the target as
    a whole can't be written.
    """
    work = _Restore(Contents(archives.data), progress)
    for choice in choices:
        try:
            stored = StoredMailbox(archives, choice.archive, choice.user)
        except DamagedError as error:
            work.lose(str(_whose(choice)), "metadata", error)
            continue
        except PlaceError as error:
            work.skipped.append(Skipped(str(_whose(choice)), error.code, error.message))
            continue
        try:
            layout = [one.folder for one in stored.mailbox.folders]
            with target.open_mailbox(choice.to_user, choice.place, layout) as writer:
                work.mailbox(_Source(stored, _whose(choice)), choice, writer)
        except StoreError as error:
            work.drop_mailbox()
            work.skipped.append(Skipped(str(_whose(choice)), "mailbox", error.message))
        except PlaceError as error:
            work.drop_mailbox()
            work.skipped.append(Skipped(str(_whose(choice)), error.code, error.message))
    target.finish()
    return work.report()


def _whose(choice: Choice) -> LogicalPath:
    return LogicalPath(choice.path.partition, choice.path.group, choice.user)


@dataclass(frozen=True, slots=True)
class _Source:
    """A mailbox as it was stored, and its path."""

    stored: StoredMailbox
    whose: LogicalPath

    def path(self, folder: str) -> str:
        """The path of a folder."""
        return str(replace(self.whose, folder=folder))

    def message_path(self, folder: str, message: Message) -> str:
        whose = self.whose
        named = message.uid or message.base
        return message_path(whose.partition or "", whose.group or "", whose.user or "", folder, named)


@dataclass(frozen=True, slots=True)
class _Counts:
    """What was put into mailboxes."""

    restored: int = 0
    present: int = 0
    files: int = 0
    size_bytes: int = 0


class _Restore:
    """The counts of a restore while its mailboxes pass by. Those of a mailbox count when it is committed:
    before, nothing of it is durable."""

    def __init__(self, contents: Contents, progress: ProgressSink) -> None:
        self._contents = contents
        self._progress = progress
        self._restored = self._present = self._files = self._bytes = self._without_modseq = 0
        self._durable = _Counts()
        self.skipped: list[Skipped] = []
        self.damaged: list[Skipped] = []
        self._uids: list[tuple[str, UidMap]] = []

    def lose(self, path: str, reason: str, error: DamagedError) -> None:
        """Something can't be restored, as it is damaged; or as an archive can't be read, which says nothing
        of what it holds."""
        if isinstance(error, UnreadableError):
            self.skipped.append(Skipped(path, error.code, error.message))
        else:
            self.damaged.append(Skipped(path, reason, error.message))

    def report(self) -> RestoreReport:
        durable = self._durable
        return RestoreReport(
            restored=durable.restored,
            present=durable.present,
            files=durable.files,
            size_bytes=durable.size_bytes,
            without_modseq=self._without_modseq,
            skipped=tuple(self.skipped),
            damaged=tuple(self.damaged),
            uids=tuple(self._uids),
        )

    def mailbox(self, source: _Source, choice: Choice, writer: MailboxWriter) -> None:
        if choice.rescues:
            self._rescue(source, choice.rescues, writer)
        elif choice.into:
            self._put_below(source, choice.path, choice.into, writer)
        else:
            self._put_back(source, choice.path, choice.extent, writer)
        writer.commit()
        outcome = writer.outcome()
        self._restored -= outcome.refused
        self._bytes -= outcome.refused_bytes
        self._uids += [(str(source.whose), one) for one in outcome.uids]
        self._durable = _Counts(self._restored, self._present, self._files, self._bytes)
        self._without_modseq += writer.without_modseq()
        self.skipped.extend(
            Skipped(f"{source.whose}/{one.path}", one.reason, one.detail) for one in writer.skipped()
        )
        self._tell(source)

    def drop_mailbox(self) -> None:
        """The mailbox that was being written could not be committed: it does not count."""
        kept = self._durable
        self._restored, self._present = kept.restored, kept.present
        self._files, self._bytes = kept.files, kept.size_bytes

    def _put_back(self, source: _Source, path: LogicalPath, extent: Extent, writer: MailboxWriter) -> None:
        mailbox = source.stored.mailbox
        path = path.resolve([one.folder.name for one in mailbox.folders])

        def selected(message: Message) -> Message | None:
            chosen = path.selects_message(message.uid, message.base, message.suffix, message.place)
            return message if chosen else None

        chosen = [one for one in mailbox.folders if path.selects_folder(one.folder.name)]
        for folder in chosen:
            if extent is Extent.FRAME:
                self._frame(source, folder.folder, writer)
            else:
                self._folder(source, folder, folder.folder, selected, writer, uid=path.uid)
        directories = {one.folder.path for one in chosen}
        for file in mailbox.files:
            # A folder takes the files in its own directory along: its keywords, its access list.
            if path.folder is None or (not file.home and posixpath.dirname(file.path) in directories):
                self._file(file, source, writer)

    def _put_below(self, source: _Source, path: LogicalPath, into: str, writer: MailboxWriter) -> None:
        """Put back nothing but mail, as new messages in folders below another one."""
        folders = source.stored.mailbox.folders
        path = path.resolve([one.folder.name for one in folders])

        def selected(message: Message) -> Message | None:
            chosen = path.selects_message(message.uid, message.base, message.suffix, message.place)
            return _renumbered(message) if chosen else None

        for folder in folders:
            if path.selects_folder(folder.folder.name):
                below = _added(f"{into}/{folder.folder.name}", folder.folder, writer)
                self._folder(source, folder, below, selected, writer, uid=path.uid)

    def _frame(self, source: _Source, folder: Folder, writer: MailboxWriter) -> None:
        """A folder without its messages."""
        try:
            writer.open_folder(folder).finish()
        except MessageUnavailable as error:
            self.skipped.append(Skipped(source.path(folder.name), error.reason, error.message))

    def _rescue(self, source: _Source, rescues: Sequence[Rescue], writer: MailboxWriter) -> None:
        mailbox = source.stored.mailbox
        folders = {one.folder.name: one for one in mailbox.folders}
        for rescue in rescues:

            def rescued(
                message: Message, wanted: frozenset[tuple[bytes, bytes]] = rescue.messages
            ) -> Message | None:
                return _undeleted(message) if (message.base, message.digest) in wanted else None

            folder = folders.get(rescue.folder)
            if folder is None:
                self.damaged.append(Skipped(source.path(rescue.folder), "metadata", "the folder is gone"))
                continue
            into = _added(rescue.into, folder.folder, writer)
            self._folder(source, folder, into, rescued, writer)

    def _folder(
        self,
        source: _Source,
        folder: FolderEntry,
        into: Folder,
        wanted: Callable[[Message], Message | None],
        writer: MailboxWriter,
        *,
        uid: int | None = None,
    ) -> None:
        """Write those messages of a folder that are wanted, as ``wanted`` gives them; with ``uid`` only the
        one that has this UID can be."""
        name = folder.folder.name
        try:
            target = writer.open_folder(into)
        except MessageUnavailable as error:
            self.skipped.append(Skipped(source.path(name), error.reason, error.message))
            return
        try:
            try:
                for stored in source.stored.messages(folder, uid):
                    message = wanted(stored)
                    if message is not None:
                        self._message(message, source, partial(source.message_path, name, stored), target)
            except DamagedError as error:
                self.lose(source.path(name), "metadata", error)
            target.finish()
        except FolderStoppedError as error:
            self.skipped.append(Skipped(source.path(name), error.reason, error.message))

    def _message(
        self, message: Message, source: _Source, shown: Callable[[], str], target: FolderWriter
    ) -> None:
        try:
            if target.add(message, self._contents.message(message)):
                self._restored += 1
                self._bytes += message.size
            else:
                self._present += 1
        except DamagedError as error:
            self.lose(shown(), _reason(error), error)
        except MessageUnavailable as error:
            self.skipped.append(Skipped(shown(), error.reason, error.message))
        if not (self._restored + self._present) % _PROGRESS_MESSAGES:
            self._tell(source)

    def _file(self, file: StoredFile, source: _Source, writer: MailboxWriter) -> None:
        shown = f"{source.whose}/{printable(file.path)}"
        try:
            if writer.add_file(file, () if file.target is not None else self._contents.message(file)):
                self._files += 1
        except DamagedError as error:
            self.lose(shown, _reason(error), error)
        except MessageUnavailable as error:
            self.skipped.append(Skipped(shown, error.reason, error.message))

    def _tell(self, source: _Source) -> None:
        whose = source.whose
        label = f"{whose.partition}/{whose.group}"
        self._progress(Progress(label, self._restored + self._present, self._bytes, whose.user or ""))


def _added(name: str, source: Folder, writer: MailboxWriter) -> Folder:
    """A folder of another name for the messages of one. The letters of their keywords mean what they mean in
    the folder that they come from."""
    return replace(writer.new_folder(name), keywords=source.keywords)


def _renumbered(message: Message) -> Message:
    """The message as a new one."""
    return replace(message, uid=0, fields=b"")


def _undeleted(message: Message) -> Message:
    """The message as a new one, which nobody has marked as deleted."""
    begin, comma, letters = message.suffix.rpartition(b",")
    return replace(
        _renumbered(message),
        flags=message.flags.replace(_DELETED, ""),
        suffix=begin + comma + letters.replace(_DELETED.encode(), b"") if comma else message.suffix,
    )


def _reason(error: DamagedError) -> str:
    return str(error.facts.get("reason", "damaged"))
