"""The table of contents of a restore: mailboxes of one archive, from their metadata to the mail store.

    for each mailbox that was chosen
      find    its metadata in the archive                        proto.archive.reader
      for each folder
        read    the messages' pieces, each checked               proto.archive.reader
        write   each message under a temporary name              stores/
      write   the mailbox's other files
      commit  make it durable, then visible                      stores/

``restore`` is what every engine dispatches. It needs the archives and nothing else.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from ..groups.paths import LogicalPath, message_path, printable
from ..proto.archive.contents import MailboxEntry
from ..proto.archive.mailboxes import FolderEntry, Mailbox
from ..proto.archive.reader import ArchiveReader, Contents
from ..proto.errors import DamagedError, MessageUnavailable, StoreError
from ..proto.ports import FolderWriter, MailboxWriter, MailTarget, ProgressSink
from ..proto.records import Message, Progress, RestoreReport, Skipped, StoredFile

_PROGRESS_MESSAGES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to restore of one mailbox: all of it, one folder (and what lies below), or one message.

    ``to_user`` is whose mailbox it becomes; ``place`` where its directory lies below the target's root,
    b"" for wherever the target puts that user.
    """

    user: str
    to_user: str
    place: bytes = b""
    path: LogicalPath


def restore(
    archive: ArchiveReader,
    contents: Contents,
    choices: tuple[Choice, ...],
    target: MailTarget,
    progress: ProgressSink,
) -> RestoreReport:
    """Restore the chosen parts of the chosen mailboxes of one archive.

    What is damaged or can't be written is listed in the report and the rest goes on. Raises StoreError
    if the target as a whole can't be written.
    """
    work = _Restore(archive, contents, progress)
    for choice in choices:
        path = LogicalPath(archive.header.partition, archive.header.group, choice.user)
        entry = archive.entry(choice.user)
        if entry is None:
            work.damaged.append(Skipped(str(path), "metadata", "its metadata is gone"))
            continue
        try:
            mailbox = archive.mailbox(entry)
        except DamagedError as error:
            work.damaged.append(Skipped(str(path), "metadata", error.message))
            continue
        try:
            with target.open_mailbox(choice.to_user, choice.place) as writer:
                work.mailbox(entry, mailbox, choice, writer)
        except StoreError as error:
            work.skipped.append(Skipped(str(path), "mailbox", error.message))
    return work.report()


class _Restore:
    """The counts of a restore while its mailboxes pass by."""

    def __init__(self, archive: ArchiveReader, contents: Contents, progress: ProgressSink) -> None:
        self._archive = archive
        self._contents = contents
        self._progress = progress
        self._label = f"{archive.header.partition}/{archive.header.group}/{archive.header.shard}"
        self._restored = self._present = self._files = self._bytes = 0
        self.skipped: list[Skipped] = []
        self.damaged: list[Skipped] = []

    def report(self) -> RestoreReport:
        return RestoreReport(
            restored=self._restored,
            present=self._present,
            files=self._files,
            size_bytes=self._bytes,
            skipped=tuple(self.skipped),
            damaged=tuple(self.damaged),
        )

    def mailbox(self, entry: MailboxEntry, mailbox: Mailbox, choice: Choice, writer: MailboxWriter) -> None:
        path = choice.path.resolve([one.folder.name for one in mailbox.folders])
        chosen = [one for one in mailbox.folders if path.selects_folder(one.folder.name)]
        for folder in chosen:
            self._folder(entry, folder, path, writer)
        directories = {one.folder.path for one in chosen}
        for file in mailbox.files:
            # A folder takes the files in its own directory along: its keywords, its access list.
            if path.folder is None or (not file.home and posixpath.dirname(file.path) in directories):
                self._file(file, entry.user, writer)
        writer.commit()
        whose = self._path(entry.user)
        self.skipped.extend(
            Skipped(f"{whose}/{one.path}", one.reason, one.detail) for one in writer.skipped()
        )
        self._tell(entry.user)

    def _folder(
        self, entry: MailboxEntry, folder: FolderEntry, path: LogicalPath, writer: MailboxWriter
    ) -> None:
        name = folder.folder.name
        try:
            target = writer.open_folder(folder.folder)
        except MessageUnavailable as error:
            self.skipped.append(Skipped(str(self._path(entry.user, name)), error.reason, error.message))
            return
        try:
            for message in self._archive.messages(entry, folder):
                if path.selects_message(message.uid, message.base):
                    self._message(message, entry.user, name, target)
        except DamagedError as error:
            self.damaged.append(Skipped(str(self._path(entry.user, name)), "metadata", error.message))
        target.finish()

    def _message(self, message: Message, user: str, folder: str, target: FolderWriter) -> None:
        try:
            if target.add(message, self._contents.message(message)):
                self._restored += 1
                self._bytes += message.size
            else:
                self._present += 1
        except DamagedError as error:
            self.damaged.append(
                Skipped(self._message_path(message, user, folder), _reason(error), error.message)
            )
        except MessageUnavailable as error:
            self.skipped.append(
                Skipped(self._message_path(message, user, folder), error.reason, error.message)
            )
        if not (self._restored + self._present) % _PROGRESS_MESSAGES:
            self._tell(user)

    def _file(self, file: StoredFile, user: str, writer: MailboxWriter) -> None:
        shown = f"{self._path(user)}/{printable(file.path)}"
        try:
            if writer.add_file(file, () if file.target is not None else self._contents.message(file)):
                self._files += 1
        except DamagedError as error:
            self.damaged.append(Skipped(shown, _reason(error), error.message))
        except MessageUnavailable as error:
            self.skipped.append(Skipped(shown, error.reason, error.message))

    def _path(self, user: str, folder: str | None = None) -> LogicalPath:
        header = self._archive.header
        return LogicalPath(header.partition, header.group, user, folder)

    def _message_path(self, message: Message, user: str, folder: str) -> str:
        header = self._archive.header
        return message_path(header.partition, header.group, user, folder, message.uid or message.base)

    def _tell(self, user: str) -> None:
        self._progress(Progress(self._label, self._restored + self._present, self._bytes, user))


def _reason(error: DamagedError) -> str:
    return str(error.facts.get("reason", "damaged"))
