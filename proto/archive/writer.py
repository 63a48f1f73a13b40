"""The encoder: from data and metadata to frames, written forward only into a sink.

Owns the order of writes (FORMAT.md, "Order of writes"): data before the metadata that points to it,
a mailbox's messages before the mailbox, everything before the directory, the footer last.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

from ..errors import DamagedError
from ..keys.derivation import digest_key
from ..keys.records import NO_KEYS, KeySlots, Sealing
from ..ports import ArchiveSink
from ..records import (
    ArchiveId,
    Departed,
    Folder,
    Listed,
    Losses,
    Message,
    Referred,
    Skipped,
    StoredFile,
    Stretch,
    Terms,
)
from ..structs import Record, replace
from . import contents, directory, frames, mailboxes
from . import departed as departures
from .codec import PLAIN, FrameCodec, Stored
from .contents import MailboxEntry
from .draft import Unfinished
from .frames import Codec, FrameType
from .framing import BlockWriter, FrameWriter
from .index_frames import IndexFrames
from .mailbox_frames import MailboxFrames, stored_mailbox
from .mailboxes import Mailbox
from .message_frames import MessageFrames
from .messages import MessageColumns, MessageRows
from .places import GONE, MailboxPlace
from .pointers import FramePointer, MailboxPointer
from .reader import ArchiveReader
from .search import TermsColumns
from .shared_data import SharedData
from .stored import Frames
from .under_way import MailboxUnderWay, fitting

_NO_TERMS = Terms()
_NOTHING_LOST = Losses()
_NO_SLOTS = KeySlots()
_HEADER_EVERY = 16
"""Mailboxes after which the header stands again: without any, nobody could say whose mail it is."""

_SHARED_MESSAGES = 512
"""A frame with fewer messages at the end of a folder goes on with those of the next one: a frame for each
small folder would take several times as much as what it tells."""


def _unknown(archive: ArchiveId) -> Referred:
    return Referred(archive=archive)


class ArchiveTotals(Record):
    """What an archive came to. ``data_bytes`` is before compression, ``archive_bytes`` the whole file."""

    data_bytes: int
    archive_bytes: int


class ArchiveWriter:
    """Writes one archive. The caller hands over mailboxes one after the other, and of each:
    ``begin_mailbox``, then ``append`` and ``add_message`` for every message of a folder (or ``refer`` or
    ``copy_messages`` for those that are told of elsewhere), ``end_folder``, ``add_file``, at last
    ``end_mailbox``; or the whole mailbox by ``refer_mailbox``. After all of them ``finish``. Sealing is the
    sink's.

    ``data_bytes`` and ``archive_bytes`` are what it has come to so far, before and after compression;
    ``index`` is where segments are noted for the next run, by digests with the key ``digest_key``, which is
    None for an archive that is not encrypted.
    """

    def __init__(
        self,
        sink: ArchiveSink,
        header: contents.ArchiveHeader,
        codec: Codec = Codec.LZ4,
        level: int = 3,
        *,
        departed: Iterable[Departed] = (),
        draft: Unfinished | None = None,
        sealing: Sealing | None = None,
        slots: KeySlots = _NO_SLOTS,
    ) -> None:
        """Begins an archive that tells of these mailboxes as ``departed``; or goes on with ``draft``, which
        the sink holds, which tells of the same, and whose header this is. With a ``sealing`` it is encrypted;
        frames with the keys of these ``slots`` may be copied into it. Raises DamagedError if the draft can't
        be read, or is encrypted where this is not to be, or the reverse."""
        known = draft.archive.codec.key_slots if draft is not None else slots
        frame_codec = _codec(header.archive, sealing, known)
        if sealing is not None:
            header = replace(header, sealed=True, write_version=contents.WRITE_VERSION)
        if draft is not None and not _goes_on(draft, sealing):
            raise DamagedError("the draft is encrypted in another way", reason="foreign")
        self.digest_key = digest_key(sealing.structure.secret) if sealing is not None else None
        self.header = header
        self._sink = sink
        self._codec = frame_codec
        self._out = FrameWriter(sink, header.archive, frame_codec)
        self._blocks = BlockWriter(self._out, frames.Compressor(codec, level))
        self._secrets = sealing.mailboxes if sealing is not None else None
        self._owner = b""  # of what is being written: the id of the secret of its mailbox
        self._shared = SharedData(self._blocks)
        self.index = IndexFrames(self._out, self._shared, apart=self._secrets is not None)
        self._message_frames = MessageFrames(self._out, frame_codec)
        self._mailbox_frames = MailboxFrames(self._out)
        self._entries: list[MailboxEntry] = []
        self._unchanged: list[MailboxEntry] = []
        self._references: dict[ArchiveId, None] = {}
        self._departed = tuple(departed)
        self._columns = MessageColumns()
        self._terms = TermsColumns()
        self._mailbox = MailboxUnderWay()
        self._first = 0  # row of the frame that is being gathered: here begins what no folder points to yet
        if frame_codec.seals:
            frame_codec.open_slot()
        if draft is None:
            self._write_header()
            if frame_codec.seals:
                self._out.write_keys()
            self._departed_frames = self._write_departed()
        else:
            self._departed_frames = [frame[0] for frame in draft.archive.directory.departed_frames]
            self._go_on(draft)

    def _go_on(self, draft: Unfinished) -> None:
        whole = draft.archive.directory
        last = whole.places[-1]
        self._mailbox_frames.go_on(whole.places, draft.archive.stored_mailbox(last.number))
        self._message_frames.begin(last.number + 1)
        self._entries.extend(whole.mailboxes)
        self.index.go_on(whole.index_frames)
        self._references.update(dict.fromkeys(whole.references))
        self._blocks.go_on(whole.blocks, whole.data_bytes)
        self._out.size_bytes, self._out.frames = draft.size_bytes, draft.frames
        self._out.chain = draft.chain
        self._out.used.update(draft.used)
        if self._codec.seals:
            self._out.write_keys()

    @property
    def data_bytes(self) -> int:
        return self._blocks.data_bytes

    @property
    def archive_bytes(self) -> int:
        return self._out.size_bytes

    @property
    def references(self) -> tuple[ArchiveId, ...]:
        """The other archives that the mailboxes written so far refer to."""
        return tuple(self._references)

    @property
    def places(self) -> Sequence[MailboxPlace]:
        """Where the mailboxes written so far lie."""
        return self._mailbox_frames.places

    @property
    def lost_frames(self) -> Sequence[int]:
        """The positions of MESSAGES frames that stand for lost ones."""
        return self._message_frames.lost

    @property
    def holes(self) -> tuple[Stretch, ...]:
        """What was left out of the data so far, ascending."""
        return self._blocks.holes()

    def begin_mailbox(self, user: str) -> None:
        """What comes is of the mailbox of this user, until it ends or is dropped. Repeatable. ValueError if
        it is to be erasable and there is no secret for it."""
        if self._secrets is None:
            return
        found = self._secrets.get((self.header.partition, user))
        if found is None:
            raise ValueError("a mailbox without a secret can't be erasable")
        self._owner = found.id

    @property
    def owner(self) -> bytes | None:
        """The id of the secret of the mailbox that is being written; None where none is erasable."""
        if self._secrets is None:
            return None
        if not self._owner:
            raise ValueError("nobody's mail can't be erasable")
        return self._owner

    def append(self, data: bytes | memoryview) -> int:
        """Store data of the mailbox that is being written; returns its offset. A piece of up to half a block
        lies in one block."""
        return self._blocks.append(data, self.owner or b"")

    def append_for(self, owner: bytes, data: bytes | memoryview) -> int:
        """The same, of the mailbox whose secret has this id; of any if it is empty."""
        return self._blocks.append(data, owner)

    def append_shared(self, data: bytes | memoryview) -> int:
        """Store data that other mailboxes may refer to; returns its offset, or what stands for it in pieces
        of messages and files, and in the index, as long as the data is not written."""
        return self._shared.append(data)

    def settled(self, offset: int) -> int:
        """The offset of the data for which ``append_shared`` gave this one, as far as it is known."""
        return self._shared.settled(offset)

    def copy_block(self, block: Stored) -> None:
        """Store a whole block of another archive (or generation), as it is stored."""
        self._blocks.copy(block)

    def leave_out(self, size: int) -> None:
        """The next bytes of the data, so many, are not there: a hole."""
        self._blocks.leave_out(size)

    def add_message(self, message: Message, terms: Terms = _NO_TERMS) -> None:
        """A message of the folder that is being written. Raises StoreError if it is beyond the format."""
        self._columns.add(message)
        self._terms.add(terms)
        if self._columns.full:
            self._flush_messages()

    def add_rows(
        self, rows: MessageRows, first: int, called: Sequence[Listed], terms: Sequence[Terms]
    ) -> None:
        """Messages of a stored frame, from row ``first`` on, as they are called and marked now: one for each
        of ``called``, none without a lasting name. Raises StoreError as ``add_message`` does; DamagedError,
        before anything is added, if the frame contradicts itself."""
        if self._columns.has_room_for(rows, first, called):
            self._columns.add_rows(rows, first, called)
            self._terms.extend(terms)
            if self._columns.full:
                self._flush_messages()
        elif len(called) == 1:
            self._flush_messages()
            self.add_rows(rows, first, called, terms)
        else:
            half = len(called) // 2
            self.add_rows(rows, first, called[:half], terms[:half])
            self.add_rows(rows, first + half, called[half:], terms[half:])

    def refer(self, pointer: FramePointer) -> None:
        """The folder that is being written goes on with these messages, as they are told of there."""
        self._point_to_gathered()
        self._mailbox.add_rows(pointer)

    def copy_messages(self, source: ArchiveReader, pointer: FramePointer) -> None:
        """The same, and this archive tells of them itself. ``source`` is the archive of the pointer. Raises
        DamagedError, and writes nothing, if the frame is damaged; what they can be found by may be lost."""
        stored = messages, terms = source.stored_messages(pointer.position)
        payload = source.codec.unpack(*messages, source.file.name)
        whole = MessageRows(payload)
        rows = whole.part(pointer.first, pointer.messages)
        locked = terms is not None and not source.codec.can_open(terms[0])
        if rows is not whole and not locked:
            # The others of its frame are of other folders.
            found = Frames(lambda _: source)
            for message, told in zip(rows.messages(), found.terms_or_none(pointer), strict=True):
                self.add_message(message, told)
            return
        self._flush_messages()
        # From here on nothing but the sink can fail.
        position = self._message_frames.copy(pointer, stored, payload, source.codec, self.owner or b"")
        self._mailbox.add_rows(pointer._replace(archive=self.header.archive, position=position))

    def end_folder(self, folder: Folder, mark: bytes = b"") -> None:
        """All messages of this folder were added; a folder that comes again goes on, and its last ``mark``
        counts. Raises StoreError, and drops the folder, if the mailbox has more folders than the format can
        hold."""
        self._point_to_gathered()
        if len(self._columns) >= _SHARED_MESSAGES:
            self._flush_messages()
        self._mailbox.end_folder(folder, mark)

    def add_file(self, file: StoredFile) -> None:
        """A file of the mailbox that is no message. Raises MessageUnavailable (``too-many``) if the
        mailbox has more of them than the format can hold."""
        self._mailbox.add_file(file)

    def drop_mailbox(self) -> None:
        """Forget what was added of the mailbox that is being written; it begins anew. What was written of it
        stays, and nothing points to it."""
        self._flush_messages()
        self._owner = b""
        self._mailbox = MailboxUnderWay()

    def end_mailbox(
        self,
        user: str,
        place: bytes,
        listed: int,
        size_bytes: int,
        skipped: tuple[Skipped, ...],
        *,
        files_mark: bytes = b"",
        mark: bytes = b"",
        added: int = 0,
        vanished: int = 0,
        changed: bool = True,
    ) -> Mailbox:
        """The mailbox is complete: a checkpoint. Messages of a folder that was not ended are dropped."""
        self.begin_mailbox(user)
        self._flush_messages()
        self._shared.settle()
        mailbox = Mailbox(
            user=user,
            place=place,
            listed=listed,
            size_bytes=size_bytes,
            folders=tuple(self._mailbox.folders),
            files=tuple(map(self._settled_file, self._mailbox.files)),
            skipped=fitting(skipped),
            files_mark=files_mark,
            mark=mark,
            added=added,
            vanished=vanished,
            changed=changed,
            archives=tuple(self._mailbox.archives),
        )
        number = self._message_frames.number
        stored = self._mailbox_frames.packed(
            mailbox, number, self._message_frames.position, self.owner or b""
        )
        home = MailboxPointer(self.header.archive, number)
        entry = mailboxes.entry_of(mailboxes.head_of(mailbox, len(stored) - 1), home)
        self._end_mailbox(entry, stored)
        return mailbox

    def _settled_file(self, file: StoredFile) -> StoredFile:
        if self._secrets is None:
            return file
        return replace(
            file, pieces=tuple(piece._replace(offset=self.settled(piece.offset)) for piece in file.pieces)
        )

    def refer_mailbox(self, entry: MailboxEntry) -> None:
        """A whole mailbox in which nothing has changed since another archive wrote it; ``entry`` is how some
        directory tells of it. ValueError if something of a mailbox was written before."""
        if self._mailbox.folders or len(self._columns):
            raise ValueError("a mailbox can only be referred to as a whole")
        # Whoever told of it did not count itself among the others.
        others = tuple(dict.fromkeys((entry.home.archive, *entry.archives)))
        self.take_over(replace(entry, archives=others, added=0, vanished=0, changed=False))

    def take_over(self, entry: MailboxEntry) -> None:
        """A mailbox that is written elsewhere, as another generation of this archive tells of it."""
        self._unchanged.append(entry)
        self._refer_to(entry)

    def rewrite_mailbox(
        self,
        source: ArchiveReader,
        place: MailboxPlace,
        entry: MailboxEntry | None,
        wanted: Container[int],
        *,
        whole: bool,
    ) -> bool:
        """What is wanted of a mailbox of another generation of this archive, as it is stored, under the same
        number: the MESSAGES frames at these positions; with ``whole`` also the mailbox itself, of which
        ``entry`` tells if this archive is to tell of it. Where messages are damaged, there is an empty frame
        instead. False if the metadata of the mailbox itself is damaged: without it then."""
        stored: Sequence[Stored] = ()
        readable = True
        if whole:
            try:
                stored = stored_mailbox(source, place, entry)
            except DamagedError:
                readable = False
        self._message_frames.rewrite(source, place, wanted)
        if stored or any(messages_place != GONE for messages_place in self._message_frames.places):
            self._end_mailbox(entry if stored else None, stored)
        return readable

    def add_run_end(self, payload: bytes) -> None:
        """What a RUN frame holds: how the run ended that the archive is of (``run_end``)."""
        self._out.metadata(FrameType.RUN, payload)

    def finish(
        self,
        unopened: Iterable[Skipped] = (),
        lost: Losses = _NOTHING_LOST,
        known: Callable[[ArchiveId], Referred] = _unknown,
    ) -> ArchiveTotals:
        """Directory and footer: nothing may be added after this. ``unopened`` are mailboxes that could not be
        opened; ``lost`` is what was damaged and may be needed; ``known`` tells of the archives that are
        referred to."""
        self._shared.settle()
        self._blocks.flush()
        self.index.finish()
        self._mailbox_frames.repeat()
        whole = contents.ArchiveDirectory(
            mailboxes=(*self._entries, *self._unchanged),
            places=tuple(self.places),
            blocks=self._blocks.table(),
            data_bytes=self.data_bytes,
            index_frames=tuple(self.index.written),
            departed_frames=tuple(zip(self._departed_frames, self._write_departed(), strict=True)),
            unopened=tuple(unopened),
            holes=self.holes,
            lost=lost,
            referred=tuple(self._without_own_scope(known(reference)) for reference in self._references),
        )
        self._write_unchanged()
        *earlier, last = directory.parts(whole)
        before = [self._out.metadata(FrameType.DIRECTORY, directory.encode(part)).at for part in earlier]
        if self._codec.seals:
            last = replace(last, seal=self._out.seal())
        payload = directory.encode(last, contents.encode_header(self.header), before)
        at = self._out.metadata(FrameType.DIRECTORY, payload).at
        if self._codec.seals:
            self._out.write_keys()
        footer = contents.Footer(directory=at, footer=self.archive_bytes, frames=self._out.frames + 1)
        self._out.compressed(FrameType.FOOTER, None, contents.encode_footer(footer))
        return ArchiveTotals(self.data_bytes, self.archive_bytes)

    def _without_own_scope(self, other: Referred) -> Referred:
        """Most are of the partition and group of this one, which need not stand there each time."""
        own = self.header
        return replace(
            other,
            partition="" if other.partition == own.partition else other.partition,
            group="" if other.group == own.group else other.group,
        )

    def _write_unchanged(self) -> None:
        """What the directory is to tell of mailboxes that are written elsewhere: nothing else here does."""
        if self._unchanged:
            for part in directory.parts(directory.only(self._unchanged)):
                self._out.metadata(FrameType.UNCHANGED, directory.encode_unchanged(part))

    def _end_mailbox(self, entry: MailboxEntry | None, stored: Sequence[Stored]) -> None:
        """The frames of a mailbox: those of its folders, at last the one that tells of it."""
        self._shared.settle()
        self._blocks.flush()
        self.index.end_mailbox()
        self._mailbox_frames.repeat()
        if len(self.places) % _HEADER_EVERY == 0:
            self._write_header()
        number = self._message_frames.number
        self._mailbox_frames.write(number, stored, tuple(self._message_frames.places))
        if entry is not None:
            self._entries.append(entry)
            self._refer_to(entry)
        self._mailbox = MailboxUnderWay()
        self._owner = b""
        self._message_frames.begin(number + 1)
        self._sink.checkpoint()

    def _refer_to(self, entry: MailboxEntry) -> None:
        self._references.update(
            (archive, None) for archive in entry.archives if archive != self.header.archive
        )

    def _point_to_gathered(self) -> None:
        """The folder that is being written has those messages that were gathered and that no folder has."""
        told = self._columns.told(self._first)
        if told.messages:
            position = self._message_frames.position
            self._mailbox.add_rows(FramePointer(self.header.archive, position, self._first, *told))
            self._first += told.messages

    def _write_departed(self) -> list[int]:
        """Who has departed. It stands at both ends: should one be lost, a mailbox would come back."""
        return [
            self._out.metadata(FrameType.DEPARTED, payload, position=part).at
            for part, payload in enumerate(departures.encode(self._departed))
        ]

    def _write_header(self) -> None:
        self._out.compressed(FrameType.HEADER, None, contents.encode_header(self.header))

    def _flush_messages(self) -> None:
        self._point_to_gathered()
        if self._first:
            self._first = 0
            owner = self.owner or b""
            if owner:
                self._shared.settle()
                self._columns.settle(self.header.archive, self._shared.settled)
            self._message_frames.write(self._columns.take(), self._terms.take(), owner)


def _goes_on(draft: Unfinished, sealing: Sealing | None) -> bool:
    """Whether the digests in a draft are made with the key that is used now, if any; and its mailboxes are
    erasable if those that come are."""
    slots = draft.archive.codec.key_slots
    if sealing is None:
        return not draft.archive.header.sealed
    if bool(slots.mailboxes) != (sealing.mailboxes is not None):
        return False  # a draft has a whole mailbox, with a slot of its own if it is erasable
    return bool(slots.wrapped) and slots.wrapped[0].structure == sealing.structure.id


def _codec(archive: ArchiveId, sealing: Sealing | None, slots: KeySlots) -> FrameCodec:
    if sealing is None:
        return PLAIN
    from .sealing import SealedCodec  # whoever encrypts nothing does without

    return SealedCodec(archive, slots, NO_KEYS, sealing)
