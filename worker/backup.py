"""The table of contents of a backup: one unit, from its mailboxes to a sealed archive.

    for each mailbox of the unit
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
from ..proto.archive.frames import Codec
from ..proto.archive.writer import ArchiveWriter
from ..proto.errors import MessageUnavailable, StoreError
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

    A mailbox, message or file that can't be read is listed in the report and the rest goes on. Raises
    StagingError if the archive can't be written; nothing with a final name is left then.
    """
    began, cpu_began = time.monotonic(), time.process_time()
    try:
        archive = ArchiveWriter(sink, _header(unit, settings), settings.codec, settings.level)
        work = _UnitBackup(unit, archive, progress)
        for user in unit.users:
            work.back_up_mailbox(store, user)
        totals = archive.finish()
        file = sink.seal()
    finally:
        sink.abort()
    return UnitReport(
        run=unit.run,
        partition=unit.partition.name,
        group=unit.group,
        shard=unit.shard,
        archive=settings.archive,
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


def _header(unit: Unit, settings: ArchiveSettings) -> ArchiveHeader:
    return ArchiveHeader(
        archive=settings.archive,
        run=unit.run,
        run_started=settings.run_started,
        host=unit.partition.host,
        partition=unit.partition.name,
        format=unit.partition.format,
        group=unit.group,
        shard=unit.shard,
        program=f"mailhaul {__version__}",
    )


class _UnitBackup:
    """The counts of a unit while its mailboxes pass by."""

    def __init__(self, unit: Unit, archive: ArchiveWriter, progress: ProgressSink) -> None:
        self._unit = unit
        self._archive = archive
        self._packer = Packer(archive)
        self._progress = progress
        self._label = f"{unit.partition.name}/{unit.group}/{unit.shard}"
        self.mailboxes: list[MailboxSummary] = []
        self.skipped: list[Skipped] = []
        self.messages = 0
        self.size_bytes = 0
        self._listed = 0

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
        stored = self._archive.end_mailbox(
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
                self._archive.add_message(stored)
                self.messages += 1
                self.size_bytes += stored.size
                if not self.messages % _PROGRESS_MESSAGES:
                    self._tell(path.user or "")
        finally:
            # Also of a folder that could not be read to its end: what was read of it is kept.
            self._archive.end_folder(folder.folder)

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
            self._archive.add_file(self._stored_file(mailbox, file))
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
        self._progress(Progress(self._label, self.messages, self.size_bytes, user))
