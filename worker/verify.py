"""Checking archives: that they are whole, and that every message in them can still be put together."""

from __future__ import annotations

from dataclasses import dataclass

from ..groups.paths import LogicalPath, message_path, printable
from ..proto.archive.contents import MailboxEntry
from ..proto.archive.mailboxes import Mailbox
from ..proto.archive.reader import ArchiveReader, Contents, RandomAccess, open_sealed
from ..proto.archive.scanning import FoundFrame, damage_of, scan
from ..proto.errors import DamagedError
from ..proto.ports import ProgressSink
from ..proto.records import Message, Progress, Skipped, StoredFile

_PROGRESS_MESSAGES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was looked at, and what is damaged: frames by their place in the file, messages by their path."""

    file: str
    frames: int = 0
    messages: int = 0
    size_bytes: int = 0
    damaged: tuple[Skipped, ...] = ()


def verify_frames(file: RandomAccess) -> VerifyReport:
    """Read a file from front to back: every frame's checksum, their order without a gap, and that header,
    directory and footer make an archive of them. Raises UnsupportedError."""
    damaged: list[Skipped] = []
    count = 0
    try:
        for found in scan(file):
            wrong = damage_of(file, found)
            if isinstance(found, FoundFrame):
                if wrong is None and found.header.sequence != count and not damaged:
                    wrong = Skipped(
                        f"{file.name} at {found.at}", "sequence", f"frame {count} is missing or out of place"
                    )
                count = found.header.sequence + 1
            if wrong is not None:
                damaged.append(wrong)
        open_sealed(file)
    except DamagedError as error:
        damaged.append(Skipped(file.name, "archive", error.message))
    return VerifyReport(file=file.name, frames=count, damaged=tuple(damaged))


def verify_messages(
    archive: ArchiveReader, contents: Contents, path: LogicalPath, progress: ProgressSink
) -> VerifyReport:
    """Put every message and file of the selected mailboxes together and compare its checksum."""
    work = _Verification(archive, contents, progress)
    for entry in archive.directory.mailboxes:
        if path.selects_user(entry.user):
            work.mailbox(entry, path)
    return VerifyReport(
        file=archive.file.name,
        messages=work.messages,
        size_bytes=work.size_bytes,
        damaged=tuple(work.damaged),
    )


class _Verification:
    """The counts of a verification while its mailboxes pass by."""

    def __init__(self, archive: ArchiveReader, contents: Contents, progress: ProgressSink) -> None:
        self._archive = archive
        self._contents = contents
        self._progress = progress
        self.messages = 0
        self.size_bytes = 0
        self.damaged: list[Skipped] = []

    def mailbox(self, entry: MailboxEntry, path: LogicalPath) -> None:
        header = self._archive.header
        whose = LogicalPath(header.partition, header.group, entry.user)
        try:
            mailbox = self._archive.mailbox(entry)
        except DamagedError as error:
            self.damaged.append(Skipped(str(whose), "metadata", error.message))
            return
        path = path.resolve([one.folder.name for one in mailbox.folders])
        self._folders(entry, mailbox, path)
        if path.folder is None:
            for file in mailbox.files:
                if file.target is None:
                    self._content(file, f"{whose}/{printable(file.path)}")

    def _folders(self, entry: MailboxEntry, mailbox: Mailbox, path: LogicalPath) -> None:
        header = self._archive.header
        for folder in mailbox.folders:
            name = folder.folder.name
            if not path.selects_folder(name):
                continue
            try:
                for message in self._archive.messages(entry, folder):
                    if path.selects_message(message.uid, message.base):
                        shown = message.uid or message.base
                        self._content(
                            message, message_path(header.partition, header.group, entry.user, name, shown)
                        )
            except DamagedError as error:
                self.damaged.append(
                    Skipped(
                        str(LogicalPath(header.partition, header.group, entry.user, name)),
                        "metadata",
                        error.message,
                    )
                )

    def _content(self, stored: Message | StoredFile, shown: str) -> None:
        try:
            for chunk in self._contents.message(stored):
                self.size_bytes += len(chunk)
        except DamagedError as error:
            self.damaged.append(Skipped(shown, str(error.facts.get("reason", "damaged")), error.message))
        self.messages += isinstance(stored, Message)
        if not self.messages % _PROGRESS_MESSAGES:
            self._progress(Progress(self._archive.file.name, self.messages, self.size_bytes))
