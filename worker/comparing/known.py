"""How mailboxes were stored last: read from the archives that a unit's own archive starts from, its parents.

Owns which of them are open, and what of their data counts as lost. What follows from a mailbox that is known
is not decided here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property

from ...groups.paths import LogicalPath
from ...proto.archive.contents import ArchiveHeader, IndexRow, MailboxEntry
from ...proto.archive.files import RandomAccess
from ...proto.archive.mailboxes import FolderEntry, Mailbox, MailboxFrames
from ...proto.archive.messages import MessageRows, Names
from ...proto.archive.pointers import FramePointer
from ...proto.archive.reader import ArchiveReader
from ...proto.archive.stored import Frames, mailbox_frames
from ...proto.archive.writer import ArchiveWriter
from ...proto.errors import AccessError, DamagedError, EncryptedError
from ...proto.keys.records import NO_KEYS, Keyring, Sealing
from ...proto.records import (
    DIGEST_BYTES,
    ArchiveId,
    ListedFile,
    Location,
    Losses,
    Message,
    Parents,
    Piece,
    Referred,
    Stretch,
    Terms,
)
from ..archives.departing import Departing
from ..archives.first_frames import begins_foreign
from ..archives.names import parse_name
from ..archives.opened import open_archive
from ..archives.stretches import merged

UNACCOUNTED = "unaccounted"
"""Why messages are missing: nobody knows what became of them. They are looked for each night."""

_MOST_OPEN = 32


class OpenParents:
    """The parents of a unit, opened when they are asked for; close them.

    ``open_copy`` opens a copy of an archive; see ``Places.open``. An archive that the system does not let be
    read ends the unit with StagingError. ``keys`` open those that are encrypted. With a ``sealing``, that of
    the archive that is written, what refers to them is encrypted itself; without, archives that are encrypted
    are of no use: what stands in them must not come into one that is not.
    """

    def __init__(
        self,
        parents: Parents,
        open_copy: Callable[[Location], RandomAccess],
        keys: Keyring = NO_KEYS,
        sealing: Sealing | None = None,
    ) -> None:
        self._parents = parents
        self._open_copy = open_copy
        self._keys = keys
        self._structure = sealing.structure.id if sealing is not None else b""
        self._erasable = sealing is not None and sealing.mailboxes is not None
        self._open: OrderedDict[ArchiveId, ArchiveReader] = OrderedDict()
        self._lost_data: dict[ArchiveId, _Lost] = {}
        self._lost_metadata: dict[ArchiveId, _Lost] = {}
        self._found_lost: set[tuple[ArchiveId, int]] = set()
        self._referred: dict[ArchiveId, Referred] = {}

    def knows(self, user: str) -> bool:
        """Whether the mailbox was stored before, be its metadata still there or not."""
        return user in self._parents.mailboxes

    def mailbox(self, partition: str, user: str) -> KnownVersion | None:
        """The newest version of a mailbox, for a run over this partition; None if there is none, or if it
        can't be read."""
        try:
            found = self.find(user)
            if found is None:
                return None
            reader, entry = found
            header = reader.header
            frames = mailbox_frames(self.reader, entry)
        except (DamagedError, EncryptedError):
            return None  # as of one that was erased, or stored of another partition, under another secret
        return KnownVersion(
            self,
            header,
            entry,
            frames,
            same_store=header.partition == partition,
            elsewhere=user in self._parents.elsewhere,
        )

    def find(self, user: str) -> tuple[ArchiveReader, MailboxEntry] | None:
        """Where the newest version of a mailbox is, until others were asked for. Raises DamagedError if its
        archive can't be read."""
        archive = self._parents.mailboxes.get(user)
        if archive is None:
            return None
        reader = self.reader(archive)
        entry = reader.entry(user)
        return (reader, entry) if entry is not None else None

    def entries(self) -> Iterator[MailboxEntry]:
        """How all mailboxes were stored last, as far as their archives can be read."""
        for user in sorted(self._parents.mailboxes, key=lambda one: self._parents.mailboxes[one]):
            with suppress(DamagedError):
                found = self.find(user)
                if found is not None:
                    yield found[1]

    def reader(self, archive: ArchiveId) -> ArchiveReader:
        """The archive, until others were asked for. Raises DamagedError if it can't be read."""
        reader = self._open.get(archive)
        if reader is None:
            if len(self._open) >= _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            reader = self._open[archive] = self._opened(archive)
        self._open.move_to_end(archive)
        return reader

    def referred(self, archive: ArchiveId) -> Referred:
        """What an archive that refers to this one tells of it: a parent, or one that some parent refers to.
        One that those can't tell of, as they are damaged, has the name that it has here."""
        told = self._referred.get(archive, Referred(archive=archive))
        if not told.run and (copies := self._parents.locations.get(archive)):
            with suppress(AccessError):
                name = parse_name(copies[0].name)
                return Referred(
                    archive=archive,
                    partition=name.partition,
                    group=name.group,
                    run=name.run,
                    shard=name.shard,
                )
        return told

    def intact(self, archives: Iterable[ArchiveId]) -> bool:
        """Whether nothing of the data of these archives is known to be lost."""
        return not any(map(self._lost_of, archives))

    def has_frame(self, archive: ArchiveId, position: int) -> bool:
        """Whether a frame of metadata is not known to be lost: by itself, or with all of its archive. Also
        what turned out to be so when it was read is known."""
        if (archive, position) in self._found_lost or self._lost_of(archive) is _NOTHING_LEFT:
            return False
        lost = self._lost_metadata.get(archive)
        if lost is None:
            lost = self._lost_metadata[archive] = _Lost(self._lost(archive).frames)
        return not lost.touches(position, 1)

    def whole(self, archives: Iterable[ArchiveId]) -> bool:
        """Whether nothing of these archives is known to be lost, neither data nor metadata."""
        damaged = {archive for archive, _ in self._found_lost}
        return all(
            archive_id not in damaged and not self._lost(archive_id).frames and not self._lost_of(archive_id)
            for archive_id in archives
        )

    def frame_is_lost(self, archive: ArchiveId, position: int) -> None:
        """A frame of metadata turned out to be damaged."""
        self._found_lost.add((archive, position))

    def hold(self, pieces: Iterable[Piece]) -> bool:
        """Whether nothing of these pieces is known to be lost."""
        return not any(self._lost_of(piece.archive).touches(piece.offset, piece.length) for piece in pieces)

    def segments(self) -> Iterator[tuple[ArchiveId, IndexRow]]:
        """The segments that all these archives remember, without those that are lost."""
        for archive in self._parents.locations:
            lost = self._lost_of(archive)
            if lost is _NOTHING_LEFT:
                continue
            with suppress(DamagedError):  # what is not remembered is stored again
                for row in self._index(archive):
                    yield archive, lost.without(row) if lost else row

    def let_go(self) -> None:
        """Close the files of the archives until something in them is read again: those that have left the
        staging area meanwhile take up space as long as they are open."""
        for reader in self._open.values():
            if isinstance(reader.file, Departing):
                reader.file.let_go()

    def close(self) -> None:
        """Close the archives. Repeatable."""
        while self._open:
            self._open.popitem()[1].close()

    def _index(self, archive: ArchiveId) -> Iterator[IndexRow]:
        if archive in self._open:
            yield from self._comparable(self._open[archive])
            return
        reader = self._opened(archive)
        try:
            yield from self._comparable(reader)
        finally:
            reader.close()

    def _comparable(self, reader: ArchiveReader) -> Iterator[IndexRow]:
        """The segments of an archive, if their digests are made with the same key as those that are to be
        looked up; where mailboxes are erasable, only of archives where they are: of others nobody knows what
        is whose."""
        slots = reader.codec.slots
        comparable = self._structure == (slots[0].structure if slots else b"")
        if comparable and (not self._erasable or reader.codec.key_slots.mailboxes):
            yield from reader.index()

    def _opened(self, archive: ArchiveId) -> ArchiveReader:
        file = self._file(archive)
        try:
            reader = open_archive(file, archive=archive, keys=self._keys)
            if reader.header.sealed and not self._structure:
                raise DamagedError(f"{file.name}: encrypted, and this run is not", reason="encrypted")
        except EncryptedError as error:
            file.close()
            raise DamagedError(error.message, reason="encrypted") from error
        except BaseException:
            file.close()
            raise
        self._note_referred(reader)
        return reader

    def _note_referred(self, reader: ArchiveReader) -> None:
        header = reader.header
        self._referred[header.archive] = Referred(
            archive=header.archive,
            partition=header.partition,
            group=header.group,
            run=header.run,
            shard=header.shard,
            size_bytes=reader.file.size,
        )
        for referred in reader.directory.referred:
            self._referred.setdefault(referred.archive, reader.referred(referred.archive))

    def _file(self, archive: ArchiveId) -> Departing:
        """The first copy of an archive that can be opened. Raises DamagedError, StagingError."""
        copies = self._parents.locations.get(archive, ())
        if not copies:
            raise DamagedError(f"archive {archive.hex()} is not at hand", reason="missing")
        return Departing(copies, self._open_copy)

    def _lost(self, archive: ArchiveId) -> Losses:
        return self._parents.lost.get(archive, _NO_LOSS)

    def _lost_of(self, archive: ArchiveId) -> _Lost:
        """What is lost of the data of an archive: as far as is known; all of one whose file is gone."""
        lost = self._lost_data.get(archive)
        if lost is None:
            lost = self._lost_data[archive] = self._look_for(archive)
        return lost

    def _look_for(self, archive: ArchiveId) -> _Lost:
        if archive not in self._open:
            try:
                with closing(self._file(archive)) as file:
                    if begins_foreign(file, archive):
                        return _NOTHING_LEFT
            except DamagedError:
                return _NOTHING_LEFT
        return _Lost(self._lost(archive).data)


class KnownVersion:
    """A mailbox as it was stored last: a KnownMailbox (see ``proto.ports``).

    ``header`` is of the archive that tells of it, ``entry`` says where it is written, ``intact`` whether all
    that it refers to is there, ``mark`` what MailboxReader.mark was then; empty where it can't be compared;
    ``has_terms`` whether what its messages can be found by can be read (else that of some may be).
    The rest is decoded when it is asked for, and may raise DamagedError the first time.

    With ``same_store`` False it was stored from another partition: nothing of what was noted of its state
    then can be compared. ``elsewhere``: see Parents."""

    def __init__(
        self,
        parents: OpenParents,
        header: ArchiveHeader,
        entry: MailboxEntry,
        frames: MailboxFrames,
        *,
        same_store: bool,
        elsewhere: bool,
    ) -> None:
        self.parents = parents
        self.header = header
        self.entry = entry
        self.same_store = same_store
        self.elsewhere = elsewhere
        head = frames.head
        self.mark = head.mark if same_store else b""
        self.files_mark = head.files_mark if same_store else b""
        self.archives = frozenset((header.archive, entry.home.archive, *head.archives))
        self.intact = parents.intact(self.archives)
        self.has_terms = not header.sealed
        self._mailbox_frames = frames
        self._frames = Frames(parents.reader)

    @cached_property
    def mailbox(self) -> Mailbox:
        """All that was stored but the messages."""
        return self._mailbox_frames.mailbox()

    @cached_property
    def folders(self) -> Mapping[bytes, KnownMessages]:
        """The folders by their paths."""
        return {
            folder.folder.path: KnownMessages(self, folder, folder.mark if self.same_store else b"")
            for folder in self.mailbox.folders
        }

    @property
    def whole(self) -> bool:
        """Whether nothing is known to be lost of all archives that it takes to read it."""
        return self.parents.whole(self.archives)

    @property
    def accounted(self) -> bool:
        """Whether what was stored came to as many messages as were listed. (A folder that listed fewer than
        it announced has no mark: it is looked at anyway.)"""
        if self.mark:
            return True  # nothing was skipped
        header = self.header
        whole = str(LogicalPath(header.partition, header.group, self.entry.user))
        return not any((skip.path, skip.reason) == (whole, UNACCOUNTED) for skip in self.mailbox.skipped)

    def rows(self, pointer: FramePointer) -> MessageRows:
        """Some messages, by columns; the frames that were read last are remembered. Raises DamagedError."""
        try:
            return self._frames.rows(pointer)
        except DamagedError:
            self.parents.frame_is_lost(pointer.archive, pointer.position)
            raise

    def remembers(self, pointer: FramePointer) -> bool:
        """Whether the frame of some messages need not be read again."""
        return self._frames.remembers(pointer)

    def terms(self, pointer: FramePointer) -> Sequence[Terms | None]:
        """What some messages can be found by; nothing if that was lost. None for each if only a recipient can
        read that: they have to be read again."""
        try:
            return self._frames.terms_or_none(pointer)
        except EncryptedError:
            return [None] * pointer.messages

    def folder(self, path: bytes) -> KnownMessages | None:
        """See KnownMailbox."""
        return self.folders.get(path)

    def directories(self) -> Iterator[tuple[bytes, str]]:
        """See KnownMailbox."""
        return self._mailbox_frames.directories()

    def listed_files(self) -> Iterator[ListedFile]:
        """See KnownMailbox."""
        return self._mailbox_frames.listed_files()

    def holds(self, pieces: Iterable[Piece]) -> bool:
        """Whether nothing of these pieces is known to be lost."""
        return self.intact or self.parents.hold(pieces)

    def has_frames(self, pointers: Iterable[FramePointer]) -> bool:
        """Whether none of the frames that tell of these messages is known to be lost."""
        return all(self.parents.has_frame(pointer.archive, pointer.position) for pointer in pointers)

    def renamed(self, guid: str) -> KnownMessages | None:
        """The folder that has this identity, wherever it was."""
        if guid:
            for folder in self.folders.values():
                if folder.folder.guid == guid:
                    return folder
        return None


class KnownMessages:
    """A folder as it was stored last, and its messages: a KnownFolder (see ``proto.ports``).

    ``frames`` say where these are told of. Methods that take one of them raise DamagedError.
    """

    def __init__(self, version: KnownVersion, stored: FolderEntry, mark: bytes) -> None:
        self.folder = stored.folder
        self.mark = mark
        self.count = stored.messages
        self.frames = stored.frames
        self._version = version

    @property
    def whole(self) -> bool:
        """Whether none of its frames is known to be lost."""
        return self._version.has_frames(self.frames)

    def bases(self) -> Iterator[bytes]:
        """See KnownFolder."""
        for pointer in self.frames:
            with suppress(DamagedError):
                yield from self.names(pointer).base

    def names(self, pointer: FramePointer) -> Names:
        """What the messages of a frame are called."""
        return self.rows(pointer).names

    def rows(self, pointer: FramePointer) -> MessageRows:
        """The messages of a frame, by columns."""
        return self._version.rows(pointer)

    def part(self, pointer: FramePointer, row: int, count: int) -> FramePointer:
        """Where so many messages of a frame are told of, from a row of it on."""
        told = self.rows(pointer).told(row, count)
        return FramePointer(pointer.archive, pointer.position, pointer.first + row, *told)

    def messages(self, pointer: FramePointer) -> list[Message]:
        """The messages of a frame."""
        return self.rows(pointer).messages()

    def terms(self, pointer: FramePointer) -> Sequence[Terms | None]:
        """What the messages of a frame can be found by; nothing if that was lost, None if it can't be read
        here."""
        return self._version.terms(pointer)

    def remembers(self, pointer: FramePointer) -> bool:
        """Whether a frame need not be read again."""
        return self._version.remembers(pointer)

    def check(self, pointer: FramePointer) -> None:
        """Nothing if the frame is not known to be lost."""
        if not self._version.has_frames((pointer,)):
            raise DamagedError("the messages of a folder are lost that is not looked at", reason="metadata")

    def copy_to(self, writer: ArchiveWriter, pointer: FramePointer) -> None:
        """Copy the messages of a frame into the archive that is being written."""
        writer.copy_messages(self._version.parents.reader(pointer.archive), pointer)


class _Lost:
    """What is lost of the data of an archive, or of its frames; true if anything is."""

    def __init__(self, stretches: Iterable[Stretch]) -> None:
        gaps = merged(stretches)
        self._starts = [gap.offset for gap in gaps]
        self._ends = [stretch.offset + stretch.length for stretch in gaps]

    def __bool__(self) -> bool:
        return bool(self._starts)

    def touches(self, offset: int, length: int) -> bool:
        number = bisect_left(self._starts, offset + length) - 1
        return number >= 0 and self._ends[number] > offset

    def without(self, row: IndexRow) -> IndexRow:
        """The rows whose data is there."""
        digests, offsets, lengths = bytearray(), [], []
        for number, (offset, length) in enumerate(zip(row.offsets, row.lengths, strict=True)):
            if not self.touches(offset, length):
                digests += row.digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
                offsets.append(offset)
                lengths.append(length)
        return IndexRow(bytes(digests), offsets, lengths, row.owner)


_NO_LOSS = Losses()
_NOTHING_LEFT = _Lost([Stretch(0, 1 << 64)])
