"""The table of contents of a backup: one unit, from its mailboxes to a sealed archive.

    go on behind what an earlier attempt left, if it did          proto.archive.draft
    for each mailbox of the unit that is not there yet
      for each folder
        list    its messages, with their UIDs                     stores/
        read    each message                                      stores/
        cut     header | body | MIME parts                        segments
        dedup   seen in this group? keep a reference              packing, dedup
        pack    append to the block; full: compress, frame        proto.archive.writer
      keep      the mailbox's other files
      mark      a checkpoint: this mailbox is complete
    directory, footer, seal                                       staging/sinks

``back_up`` is what every engine dispatches. It prints nothing and knows of no engine.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

from .. import __version__
from ..groups.paths import LogicalPath, message_path, printable
from ..proto.archive.contents import ArchiveHeader
from ..proto.archive.draft import Draft
from ..proto.archive.frames import Codec
from ..proto.archive.writer import ArchiveWriter
from ..proto.errors import DamagedError, MessageUnavailable, StoreError
from ..proto.ports import ArchiveSink, FolderReader, MailboxReader, MailStore, ProgressSink
from ..proto.records import (
    ArchiveId,
    Listed,
    ListedFile,
    MailboxSummary,
    Message,
    Progress,
    Skipped,
    StoredFile,
    Unit,
    UnitReport,
)
from .packing import Packer
from .staging.sealed import Account, account_of

_PROGRESS_MESSAGES = 64
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """How one archive is written. ``run_started`` is in seconds since 1970."""

    archive: ArchiveId
    run_started: float
    codec: Codec = Codec.LZ4
    level: int = 3


def back_up(
    unit: Unit, store: MailStore, sink: ArchiveSink, settings: ArchiveSettings, progress: ProgressSink
) -> UnitReport:
    """Store all mailboxes of a unit in one archive and seal it.

    Mailboxes that an earlier attempt completed are not read again; the archive keeps the id that it got
    then, and the report tells of all of it, except for the time that it took. A mailbox, message or file
    that can't be read is listed in the report and the rest goes on. Raises StagingError if the archive can't
    be written; nothing with a final name is left then.
    """
    began, cpu_began = time.monotonic(), time.process_time()
    try:
        work = _begin(unit, sink, settings, progress)
        done = {one.user for one in work.mailboxes}
        for user in unit.users:
            if user not in done:
                work.back_up_mailbox(store, user)
        totals = work.archive.finish()
        file = sink.seal()
    finally:
        sink.abort()
    return UnitReport(
        run=unit.run,
        partition=unit.partition.name,
        group=unit.group,
        shard=unit.shard,
        archive=work.archive.header.archive,
        file=file,
        mailboxes=tuple(work.mailboxes),
        skipped=tuple(work.skipped),
        messages=work.messages,
        size_bytes=work.size_bytes,
        new_bytes=totals.data_bytes,
        archive_bytes=totals.archive_bytes,
        seconds=time.monotonic() - began,
        cpu_seconds=time.process_time() - cpu_began,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _begin(unit: Unit, sink: ArchiveSink, settings: ArchiveSettings, progress: ProgressSink) -> _UnitBackup:
    """The work on an archive: behind what an earlier attempt left of it, or at its start."""
    codec, level = settings.codec, settings.level
    draft = sink.begin()
    if draft is not None:
        try:
            account = _completed(unit, draft)
            archive = ArchiveWriter(sink, draft.archive.header, codec, level, draft=draft)
            work = _UnitBackup(unit, archive, progress)
            work.take_up(draft, account)
        except DamagedError:
            sink.restart()
        else:
            return work
    return _UnitBackup(unit, ArchiveWriter(sink, _header(unit, settings), codec, level), progress)


def _completed(unit: Unit, draft: Draft) -> Account:
    """What a draft tells of its mailboxes. Raises DamagedError if it is not one of this unit and no others
    than its users, or does not tell of all of them."""
    header, account = draft.archive.header, account_of(draft.archive)
    users = {one.user for one in account.mailboxes}
    fits = (header.run, header.partition, header.group, header.shard) == (
        unit.run,
        unit.partition.name,
        unit.group,
        unit.shard,
    )
    if not fits or not users <= set(unit.users) or len(users) < len(draft.archive.directory.mailboxes):
        raise DamagedError(f"{draft.archive.file.name}: not a draft of this unit", reason="foreign")
    return account


def _header(unit: Unit, settings: ArchiveSettings) -> ArchiveHeader:
    return ArchiveHeader(
        archive=settings.archive,
        run=unit.run,
        run_started=settings.run_started,
        host=unit.partition.hosts[0],
        partition=unit.partition.name,
        format=unit.partition.format,
        group=unit.group,
        shard=unit.shard,
        program=f"mailhaul {__version__}",
    )


class _UnitBackup:
    """The counts of a unit while its mailboxes pass by."""

    def __init__(self, unit: Unit, archive: ArchiveWriter, progress: ProgressSink) -> None:
        self.archive = archive
        self._unit = unit
        self._packer = Packer(archive)
        self._progress = progress
        self._label = f"{unit.partition.name}/{unit.group}/{unit.shard}"
        self.mailboxes: list[MailboxSummary] = []
        self.skipped: list[Skipped] = []
        self.messages = 0
        self.size_bytes = 0
        self._listed = 0

    def take_up(self, draft: Draft, account: Account) -> None:
        """Count what an earlier attempt completed as done, and know its segments. Raises DamagedError."""
        self._packer.recall(draft.archive)
        self.mailboxes.extend(account.mailboxes)
        self.skipped.extend(account.skipped)
        self.messages = sum(one.stored for one in account.mailboxes)
        self.size_bytes = sum(one.size_bytes for one in account.mailboxes)
        self._tell("")

    def back_up_mailbox(self, store: MailStore, user: str) -> None:
        unit = self._unit
        path = LogicalPath(unit.partition.name, unit.group, user)
        try:
            with store.open_mailbox(user) as mailbox:
                skipped = self._contents(mailbox, path)
        except StoreError as error:
            self.skipped.append(Skipped(str(path), "mailbox", error.message))
            return
        self.skipped.extend(skipped)

    def _contents(self, mailbox: MailboxReader, path: LogicalPath) -> list[Skipped]:
        skipped: list[Skipped] = []
        listed_before, size_before = self._listed, self.size_bytes
        try:
            for folder in mailbox.folders():
                self._folder(folder, path, skipped)
            for file in mailbox.files():
                self._file(mailbox, file, path, skipped)
        except StoreError as error:
            # The mailbox became unreadable half-way: keep what there is, and say so.
            skipped.append(Skipped(str(path), "mailbox", error.message))
        skipped.extend(Skipped(f"{path}/{one.path}", one.reason, one.detail) for one in mailbox.skipped())
        stored = self.archive.end_mailbox(
            path.user or "",
            mailbox.place,
            self._listed - listed_before,
            self.size_bytes - size_before,
            tuple(skipped),
        )
        self.mailboxes.append(stored.summary(self._unit.partition.name, self._unit.group))
        self._tell(path.user or "")
        return skipped

    def _folder(self, folder: FolderReader, path: LogicalPath, skipped: list[Skipped]) -> None:
        try:
            for message in folder.messages():
                self._listed += 1
                try:
                    stored = self._message(folder, message)
                except MessageUnavailable as error:
                    shown = self._shown(path, folder, message)
                    skipped.append(Skipped(shown, error.reason, error.message))
                    continue
                self.archive.add_message(stored)
                self.messages += 1
                self.size_bytes += stored.size
                if not self.messages % _PROGRESS_MESSAGES:
                    self._tell(path.user or "")
        finally:
            # Also of a folder that could not be read to its end: what was read of it is kept.
            self.archive.end_folder(folder.folder)

    def _shown(self, path: LogicalPath, folder: FolderReader, message: Listed) -> str:
        where = (path.partition or "", path.group or "", path.user or "", folder.folder.name)
        return message_path(*where, message.uid or message.base)

    def _message(self, folder: FolderReader, listed: Listed) -> Message:
        for attempt in range(1, _ATTEMPTS + 1):
            opened = folder.open_message(listed)
            try:
                size, digest, pieces = self._packer.store(opened)
            except MessageUnavailable as error:
                if error.reason != "changed" or attempt == _ATTEMPTS:
                    raise
                continue
            finally:
                opened.close()
            found, stat = opened.listed or listed, opened.stat
            break
        return Message(
            listed.uid,
            found.base,
            found.suffix,
            found.place,
            found.flags,
            listed.fields,
            stat.mtime_ns,
            stat.owner,
            size,
            digest,
            pieces,
        )

    def _file(
        self, mailbox: MailboxReader, file: ListedFile, path: LogicalPath, skipped: list[Skipped]
    ) -> None:
        try:
            self.archive.add_file(self._stored_file(mailbox, file))
        except MessageUnavailable as error:
            skipped.append(Skipped(f"{path}/{printable(file.path)}", error.reason, error.message))

    def _stored_file(self, mailbox: MailboxReader, file: ListedFile) -> StoredFile:
        if file.target is not None:
            stat = mailbox.link_stat(file)
            return StoredFile(file.path, file.home, file.target, stat.owner, stat.mtime_ns, 0, bytes(16), ())
        opened = mailbox.open_file(file)
        try:
            size, digest, pieces = self._packer.store(opened)
        finally:
            opened.close()
        stat = opened.stat
        return StoredFile(file.path, file.home, None, stat.owner, stat.mtime_ns, size, digest, pieces)

    def _tell(self, user: str) -> None:
        data_bytes, archive_bytes = self.archive.data_bytes, self.archive.archive_bytes
        self._progress(Progress(self._label, self.messages, self.size_bytes, user, data_bytes, archive_bytes))
