"""The archive of a unit, which is begun when there is something to write: mailboxes that are as they were
stored last are only noted until then, and referred to when it turns out that there is an archive.

Owns where an archive begins: new, or behind what an earlier attempt left of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from .. import __version__
from ..proto.archive.contents import ArchiveHeader
from ..proto.archive.draft import Unfinished
from ..proto.archive.messages import MessageRows
from ..proto.archive.pointers import FramePointer
from ..proto.archive.writer import ArchiveTotals, ArchiveWriter
from ..proto.errors import DamagedError
from ..proto.keys.records import Sealing
from ..proto.ports import ArchiveSink
from ..proto.records import ArchiveId, Folder, Listed, Message, Skipped, Terms, Unit
from ..proto.structs import Record
from .archives.sealed import Account, account_of
from .comparing.gathering import to_gather
from .comparing.known import KnownMessages, OpenParents
from .packing.packer import Packer, Segments
from .packing.settings import ArchiveSettings


class Unchanged(Record, kw_only=True):
    """A mailbox that is as it was stored last.

    ``marks`` of its folders, by path, ``files_mark`` and ``mark`` are what the store says of its state now,
    where that is another mark than the stored one. Without any ``marks`` all that is stored stays as it is.
    """

    user: str
    marks: Mapping[bytes, bytes] | None = None
    files_mark: bytes = b""
    mark: bytes = b""


class AlreadyStored(Exception):
    """An earlier attempt completed this very mailbox."""


class UnitArchive:
    """The archive of a unit, in ``sink``. ``taken_up`` is told what an earlier attempt completed of it.
    Without ``refer`` it tells of everything itself; with a ``sealing`` it is encrypted.

    ``done`` are the users whose mailboxes that are, ``unreadable`` those whose last version turned out to be
    damaged when it was to be used: their mailboxes have to be read. All methods may raise StagingError.
    """

    def __init__(
        self,
        unit: Unit,
        sink: ArchiveSink,
        settings: ArchiveSettings,
        parents: OpenParents,
        segments: Callable[[], Segments],
        taken_up: Callable[[Account], object],
        *,
        refer: bool,
        sealing: Sealing | None = None,
    ) -> None:
        self.done: frozenset[str] = frozenset()
        self.unreadable: list[str] = []
        self._unit = unit
        self._sink = sink
        self._settings = settings
        self._parents = parents
        self._segments = segments
        self._taken_up = taken_up
        self._begun: tuple[ArchiveWriter, Packer] | None = None
        self._unchanged: list[Unchanged] = []
        self._refer = refer
        self._sealing = sealing
        self._gathered: frozenset[ArchiveId] = frozenset()

    @property
    def sizes(self) -> tuple[int, int]:
        """What it has come to so far, before and after compression."""
        writer = self._begun[0] if self._begun else None
        return (writer.data_bytes, writer.archive_bytes) if writer else (0, 0)

    def begin(self) -> tuple[ArchiveWriter, Packer]:
        """The archive, with the mailboxes in it that were unchanged so far. Repeatable."""
        if self._begun is None:
            if self._refer:
                self._gathered = to_gather(self._parents.entries())
            writer, packer, account = self._begin()
            self._begun = writer, packer
            if account is not None:
                self.done = frozenset(mailbox.user for mailbox in account.mailboxes)
                self._taken_up(account)
            for unchanged in self._unchanged:
                if unchanged.user not in self.done:
                    self._keep(unchanged, writer)
            self._unchanged.clear()
        return self._begun

    def keep(self, unchanged: Unchanged) -> None:
        """This mailbox is in the archive as it was stored last, if there will be one."""
        if self._begun is None:
            self._unchanged.append(unchanged)
        else:
            self._keep(unchanged, self._begun[0])

    def put(self, stored: KnownMessages, pointer: FramePointer, writer: ArchiveWriter) -> None:
        """Messages that are as they were stored go into the folder that is being written. Raises
        DamagedError."""
        if self._tells_itself(pointer.archive):
            stored.copy_to(writer, pointer)
        else:
            stored.check(pointer)
            writer.refer(pointer)

    def _tells_itself(self, archive: ArchiveId) -> bool:
        """Whether the metadata in another archive is copied, rather than referred to."""
        return not self._refer or archive in self._gathered

    def drop_mailbox(self) -> None:
        """Forget what was written of a mailbox that was not completed."""
        if self._begun is not None:
            self._begun[0].drop_mailbox()

    def finish(self, unopened: Iterable[Skipped]) -> tuple[ArchiveWriter, ArchiveTotals]:
        """The end of the archive, which is not sealed yet."""
        writer, _ = self.begin()
        return writer, writer.finish(unopened, known=self._parents.referred)

    def _begin(self) -> tuple[ArchiveWriter, Packer, Account | None]:
        """Behind what an earlier attempt left of the archive, with what it completed; or at its start."""
        codec, level = self._settings.codec, self._settings.level
        found = self._sink.begin()
        if found is not None:
            draft = found.over(self._sink.written)
            try:
                account = _completed(self._unit, draft)
                gone = draft.archive.departures()
                if gone != (*self._unit.departed, *self._unit.carried):
                    raise DamagedError("others have departed since", reason="foreign")
                writer = ArchiveWriter(
                    self._sink,
                    draft.archive.header,
                    codec,
                    level,
                    departed=gone,
                    draft=draft,
                    sealing=self._sealing,
                )
                packer = Packer(writer, self._segments)
                packer.recall(draft.archive)
            except DamagedError:
                self._sink.restart()
            else:
                return writer, packer, account
        gone = (*self._unit.departed, *self._unit.carried)
        header = _header(self._unit, self._settings)
        writer = ArchiveWriter(self._sink, header, codec, level, departed=gone, sealing=self._sealing)
        return writer, Packer(writer, self._segments), None

    def _keep(self, unchanged: Unchanged, writer: ArchiveWriter) -> None:
        try:
            found = self._parents.find(unchanged.user)
            if found is None:
                raise _gone(unchanged.user)
            entry = found[1]
            if unchanged.marks is None and not any(
                self._tells_itself(archive_id) for archive_id, _ in entry.rows
            ):
                writer.refer_mailbox(entry)
            else:
                self._write_again(unchanged, writer)
        except DamagedError:
            self.drop_mailbox()
            self.unreadable.append(unchanged.user)

    def _write_again(self, unchanged: Unchanged, writer: ArchiveWriter) -> None:
        """The mailbox as it was stored, but for the marks. Raises DamagedError."""
        version = self._parents.mailbox(self._unit.partition.name, unchanged.user)
        if version is None:
            raise _gone(unchanged.user)
        fresh = unchanged.marks or {}
        writer.begin_mailbox(unchanged.user)
        for path, known in version.folders.items():
            for pointer in known.frames:
                self.put(known, pointer, writer)
            writer.end_folder(known.folder, fresh.get(path) or known.mark)
        mailbox = version.mailbox
        for file in mailbox.files:
            writer.add_file(file)
        writer.end_mailbox(
            mailbox.user,
            mailbox.place,
            mailbox.listed,
            mailbox.size_bytes,
            mailbox.skipped,
            files_mark=unchanged.files_mark or version.files_mark,
            mark=unchanged.mark or version.mark,
            changed=False,
        )


class LateMailbox:
    """One mailbox of the archive of a unit. What is stored already is only noted, until the first thing is
    added that is not; ``messages`` and ``size_bytes`` count what was written then.

    Methods that write raise AlreadyStored if an earlier attempt has completed this mailbox, DamagedError if
    something that was noted can't be read, StoreError if it is beyond the archive format.
    """

    def __init__(self, archive: UnitArchive, user: str) -> None:
        self.messages = 0
        self.size_bytes = 0
        self._archive = archive
        self._user = user
        self._begun: tuple[ArchiveWriter, Packer] | None = None
        self._noted: deque[Callable[[ArchiveWriter], None]] = deque()

    @property
    def is_begun(self) -> bool:
        """Whether anything was written."""
        return self._begun is not None

    def begin(self) -> tuple[ArchiveWriter, Packer]:
        """Write what was noted; from now on all is written at once."""
        if self._begun is None:
            begun = self._archive.begin()
            if self._user in self._archive.done:
                raise AlreadyStored
            begun[0].begin_mailbox(self._user)
            self._begun = begun
        while self._noted:
            self._noted.popleft()(self._begun[0])
        return self._begun

    def keep(self, stored: KnownMessages, pointer: FramePointer) -> None:
        """Messages that are as they were stored."""

        def write(writer: ArchiveWriter) -> None:
            self._archive.put(stored, pointer, writer)
            self._count(pointer.messages, pointer.size_bytes)

        self._note(write)

    def end_folder(self, folder: Folder, mark: bytes) -> None:
        """See ArchiveWriter."""
        self._note(lambda writer: writer.end_folder(folder, mark))

    def add_message(self, message: Message, terms: Terms) -> None:
        """See ArchiveWriter."""
        writer, _ = self.begin()
        writer.add_message(message, terms)
        self._count(1, message.size)

    def add_rows(
        self, rows: MessageRows, first: int, called: Sequence[Listed], terms: Sequence[Terms]
    ) -> None:
        """See ArchiveWriter."""
        writer, _ = self.begin()
        writer.add_rows(rows, first, called, terms)
        self._count(len(called), sum(rows.sizes[first : first + len(called)]))

    def _note(self, write: Callable[[ArchiveWriter], None]) -> None:
        self._noted.append(write)
        if self._begun is not None:
            self.begin()

    def _count(self, messages: int, size_bytes: int) -> None:
        self.messages += messages
        self.size_bytes += size_bytes


def _completed(unit: Unit, draft: Unfinished) -> Account:
    """What a draft tells of its mailboxes. Raises DamagedError if it is not one of this unit and no others
    than its users, or does not tell of all of them."""
    header, account = draft.archive.header, account_of(draft.archive, lambda _: draft.archive)
    users = {mailbox.user for mailbox in account.mailboxes}
    fits = (header.archive, header.run, header.partition, header.group, header.shard) == (
        unit.archive,
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
        archive=unit.archive,
        run=unit.run,
        run_started=settings.run_started,
        host=unit.partition.hosts[0],
        partition=unit.partition.name,
        format=unit.partition.format,
        group=unit.group,
        shard=unit.shard,
        program=f"mailhaul {__version__}",
        stream=settings.stream,
    )


def _gone(user: str) -> DamagedError:
    return DamagedError(f"the last version of {user} can't be read any more", reason="missing")
