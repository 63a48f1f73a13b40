"""Which messages of which kept versions of mailboxes can't be put together any more.

    for each mailbox, for each of its versions
      for each folder, for each frame of its messages
        one to which an earlier version refers, too          known by where it lies, not looked at again
        its pieces                                           are they where they should be?   availability
        its content, each different one once                 has it its checksum?   proto.archive.reader

What is kept of a mailbox in memory: pointers to its frames, hashes of its contents, and what is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ...groups.paths import LogicalPath, message_path, printable
from ...proto.archive.extents import extents
from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.pointers import FramePointer
from ...proto.archive.reader import ArchiveReader
from ...proto.archive.stored import StoredMailbox, StoredRows
from ...proto.errors import DamagedError, ErasedError, PlaceError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Message, RunId, Skipped, StoredFile, Stretch
from ...proto.structs import Mutable, Record, field, replace
from ..archives.availability import Lack
from .examiner import Depth, Examiner
from .kept import KeptMailbox, KeptVersion, contents_of


class Loss(Record, kw_only=True):
    """What can't be restored of a ``mailbox`` (partition, user) at the moments from ``first`` to ``last``: a
    message or other file, or the metadata of a folder or of all, by its ``path``.

    ``archive`` is the one that is damaged. Of a content ``digest`` is not empty, and ``lacking`` are the
    stretches of data that it needs and that are gone. ``current``: the newest version of the mailbox has it,
    too. ``twin`` is an archive whose metadata tells of the same content elsewhere, whole; of metadata the
    archive that tells of another version of the mailbox, as it was at the moment ``near``.
    """

    mailbox: tuple[str, str]
    path: str
    first: RunId
    last: RunId
    archive: ArchiveId
    reason: str
    detail: str
    digest: bytes = b""
    lacking: tuple[tuple[ArchiveId, Stretch], ...] = ()
    current: bool = False
    twin: ArchiveId | None = None
    near: RunId | None = None


class LossReport(Record, kw_only=True):
    """What was looked at: ``messages`` of all versions, of which ``contents`` different ones with
    ``size_bytes`` were put together and compared; what is lost; and what is ``unread``, as it can't be read
    where it lies now."""

    messages: int = 0
    contents: int = 0
    size_bytes: int = 0
    losses: tuple[Loss, ...] = ()
    unread: tuple[Skipped, ...] = ()


def find_losses(
    mailboxes: Sequence[KeptMailbox],
    open_archive: Callable[[ArchiveId], ArchiveReader],
    broken: Mapping[ArchiveId, tuple[Stretch, ...]],
    depth: Depth,
    progress: ProgressSink,
    label: str,
) -> LossReport:
    """Look at all versions of these mailboxes. ``broken`` has each archive that is known to be damaged, with
    what is broken of its data; the others are believed to be as they were written. Never raises
    DamagedError: what is damaged is in the report."""
    work = Examiner(open_archive, broken, depth, progress, label)
    losses: list[Loss] = []
    for mailbox in mailboxes:
        check = _MailboxCheck(work, mailbox)
        for version in mailbox.versions:
            try:
                check.version(version)
            except PlaceError as error:
                work.note_unread(error)
        losses += check.losses()
    work.tell()
    return LossReport(
        messages=work.messages,
        contents=work.contents,
        size_bytes=work.size_bytes,
        losses=tuple(losses),
        unread=work.unread,
    )


class _Poor(NamedTuple):
    """A content that can't be had."""

    stored: Message | StoredFile
    lack: Lack


class _Frame(Mutable):
    """What was found in a frame of messages: how many, their size, and those that can't be had."""

    count: int = 0
    size_bytes: int = 0
    poor: list[_Poor] = field(default_factory=list)


class _MailboxCheck:
    """The versions of one mailbox while they pass by."""

    def __init__(self, work: Examiner, mailbox: KeptMailbox) -> None:
        self._work = work
        self._mailbox = mailbox
        self._frames: dict[FramePointer, _Frame] = {}
        self._whole: set[int] = set()
        self._losses: list[Loss] = []
        self._open: dict[tuple[str, bytes, str, bytes], tuple[int, KeptVersion]] = {}
        self._last: KeptVersion | None = None
        self._before: KeptVersion | None = None
        self._readable: list[KeptVersion] = []
        self._lacking: dict[str, set[ArchiveId]] = {}  # by path, who tells of versions whose metadata is lost

    def version(self, version: KeptVersion) -> None:
        """Look at a version. The versions of a group come in their order."""
        same = self._last is not None and self._last.group == version.group
        self._before, self._last = (self._last if same else None), version
        try:
            stored = StoredMailbox(self._work.open_archive, version.archive, self._mailbox.user)
        except ErasedError:
            return
        except DamagedError as error:
            self._lose_metadata(version, None, error, self._home(version))
            return
        self._readable.append(version)
        mailbox = stored.mailbox
        path = self._work.depth.path.resolve([entry.folder.name for entry in mailbox.folders])
        for folder in mailbox.folders:
            if path.selects_folder(folder.folder.name):
                self._folder(version, stored, folder, path)
        if path.folder is None:
            whose = LogicalPath(self._mailbox.partition, version.group, self._mailbox.user)
            for file in mailbox.files:
                lack = None if file.target is not None else self._work.lack(file, self._whole)
                if lack is not None:
                    self._lose(version, f"{whose}/{printable(file.path)}", _Poor(file, lack))

    def losses(self) -> list[Loss]:
        """What is lost, and where else it is."""
        if not self._losses:
            return []
        current = {loss.digest for loss in self._losses if loss.current}
        twins = self._twins({one.digest for one in self._losses if one.digest})
        return [
            replace(one, current=one.digest in current, twin=twins.get(one.digest))
            if one.digest
            else self._near(one)
            for one in self._losses
        ]

    def _home(self, version: KeptVersion) -> ArchiveId:
        """The archive in which the metadata of a version lies, as far as that can be told."""
        try:
            entry = self._work.open_archive(version.archive).entry(self._mailbox.user)
        except DamagedError:
            return version.archive
        return entry.home.archive if entry is not None else version.archive

    def _folder(
        self, version: KeptVersion, mailbox: StoredMailbox, folder: FolderEntry, path: LogicalPath
    ) -> None:
        lost: dict[ArchiveId, tuple[int, DamagedError]] = {}
        name = folder.folder.name
        for rows in mailbox.frames(folder):
            if path.uid is not None and not rows.pointer.may_have(path.uid):
                continue
            try:
                frame = self._frame(rows, path)
            except DamagedError as error:
                archive = rows.pointer.archive
                count, damage = lost.get(archive, (0, error))
                lost[archive] = count + rows.pointer.messages, damage
                continue
            for poor in frame.poor:
                shown = poor.stored.uid or poor.stored.base if isinstance(poor.stored, Message) else 0
                whose = self._mailbox
                told = message_path(whose.partition, version.group, whose.user, name, shown)
                self._lose(version, told, poor)
        for archive, (count, damage) in lost.items():
            detail = f"{count} of {folder.messages} messages are lost: {damage.message}"
            self._lose_metadata(version, name, DamagedError(detail), archive)

    def _frame(self, rows: StoredRows, path: LogicalPath) -> _Frame:
        # A path to a message does not look at the others of its frame, so nothing is known of them then.
        one_message = path.uid is not None or path.name is not None
        known = None if one_message else self._frames.get(rows.pointer)
        if known is None:
            known = self._read(rows, path, one_message)
            if not one_message:
                self._frames[rows.pointer] = known
        if not one_message:
            self._work.passed(known.count, known.size_bytes)
        return known

    def _read(self, rows: StoredRows, path: LogicalPath, one_message: bool) -> _Frame:
        found = rows.by_columns()
        pointer = rows.pointer
        if not one_message and not self._work.depth.data:
            payload = rows.payload()
            if self._work.has_all(extents(payload, (pointer.first, pointer.messages))):
                return _Frame(len(found), found.totals.size_bytes)
        frame = _Frame()
        for message in found.messages():
            frame.count += 1
            frame.size_bytes += message.size
            if one_message and not _is_selected(path, message):
                continue
            if one_message:
                self._work.passed(1, message.size)
            lack = self._work.lack(message, self._whole)
            if lack is not None:
                frame.poor.append(_Poor(message, lack))
        return frame

    def _lose(self, version: KeptVersion, path: str, poor: _Poor) -> None:
        error, stretches = poor.lack.error, poor.lack.stretches
        pieces = poor.stored.pieces
        self._add(
            Loss(
                mailbox=(self._mailbox.partition, self._mailbox.user),
                path=path,
                first=version.first,
                last=version.last,
                archive=stretches[0][0] if stretches else pieces[0].archive if pieces else version.archive,
                reason=str(error.facts.get("reason", "damaged")),
                detail=error.message,
                digest=poor.stored.digest,
                lacking=stretches,
                current=version.current,
            ),
            version,
        )

    def _lose_metadata(
        self, version: KeptVersion, folder: str | None, error: DamagedError, archive: ArchiveId
    ) -> None:
        path = LogicalPath(self._mailbox.partition, version.group, self._mailbox.user, folder)
        self._lacking.setdefault(str(path), set()).add(version.archive)
        self._add(
            Loss(
                mailbox=(self._mailbox.partition, self._mailbox.user),
                path=str(path),
                first=version.first,
                last=version.last,
                archive=archive,
                reason="metadata",
                detail=error.message,
                current=version.current,
            ),
            version,
        )

    def _add(self, loss: Loss, version: KeptVersion) -> None:
        """A loss of a version; the same one in the version before is one with it."""
        key = (loss.path, loss.digest, loss.reason, loss.archive if not loss.digest else b"")
        number, seen = self._open.get(key, (0, None))
        if seen is not None and seen is self._before:
            self._losses[number] = replace(
                self._losses[number], last=loss.last, current=self._losses[number].current or loss.current
            )
        else:
            number = len(self._losses)
            self._losses.append(loss)
        self._open[key] = number, version

    def _near(self, loss: Loss) -> Loss:
        """Lost metadata, and the moment nearest to it at which there is some of the same mailbox."""
        lacking = self._lacking[loss.path]
        others = [version for version in self._readable if version.archive not in lacking]
        before = [kept_version for kept_version in others if kept_version.last < loss.first]
        near = before[-1] if before else others[0] if others else None
        if near is None:
            return loss
        return replace(loss, twin=near.archive, near=near.last if before else near.first)

    def _twins(self, wanted: set[bytes]) -> dict[bytes, ArchiveId]:
        """Archives that tell of contents with these digests that can be had."""
        twins: dict[bytes, ArchiveId] = {}
        for version, stored in contents_of(self._work.open_archive, self._mailbox) if wanted else ():
            new = stored.digest in wanted and stored.digest not in twins
            if new and self._work.lack(stored, self._whole) is None:
                twins[stored.digest] = version.archive
        return twins


def _is_selected(path: LogicalPath, message: Message) -> bool:
    return path.selects_message(message.uid, message.base, message.suffix, message.place)
