"""The encoder: from data and metadata to frames, written forward only into a sink.

Owns the order of writes (FORMAT.md, "Order of writes"): data before the metadata that points to it,
a mailbox's messages before the mailbox, everything before the directory, the footer last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import DamagedError
from ..ports import ArchiveSink
from ..records import (
    ArchiveId,
    Departed,
    Folder,
    Listed,
    Losses,
    Message,
    Skipped,
    StoredFile,
    Stretch,
    Terms,
)
from . import contents, directory, frames, mailboxes, messages, search
from .contents import MailboxEntry
from .draft import Draft
from .frames import Codec, FrameType
from .framing import BlockWriter, FrameWriter, Stored
from .mailboxes import Mailbox, TakenOver
from .messages import MessageColumns, MessageRows, Totals
from .reader import ArchiveReader
from .search import TermsColumns
from .under_way import MailboxUnderWay, fitting

_NO_TERMS = Terms()
_NOTHING_LOST = Losses()
_INDEX_ROWS = 1 << 16
_HEADER_EVERY = 16
"""Mailboxes after which the header stands again: without any, nobody could say whose mail it is."""


@dataclass(frozen=True, slots=True)
class ArchiveTotals:
    """What an archive came to. ``data_bytes`` is before compression, ``archive_bytes`` the whole file."""

    data_bytes: int
    archive_bytes: int


class ArchiveWriter:
    """Writes one archive. The caller hands over mailboxes one after the other, and of each:
    ``append`` and ``add_message`` (or ``copy_messages``) for every message of a folder, ``end_folder``,
    ``add_file``, at last ``end_mailbox``; or the whole mailbox by ``copy_mailbox``. After all of them
    ``finish``. Sealing is the sink's.

    ``data_bytes`` and ``archive_bytes`` are what it has come to so far, before and after compression;
    ``lost_frames`` the positions of MESSAGES frames that stand for lost ones.
    """

    def __init__(
        self,
        sink: ArchiveSink,
        header: contents.ArchiveHeader,
        codec: Codec = Codec.LZ4,
        level: int = 3,
        *,
        draft: Draft | None = None,
    ) -> None:
        """Begins an archive; or goes on with ``draft``, which the sink holds and whose header this is.
        Raises DamagedError if the draft can't be read."""
        self.header = header
        self._sink = sink
        self._out = FrameWriter(sink, header.archive)
        self._blocks = BlockWriter(self._out, frames.Compressor(codec, level))
        self._entries: list[MailboxEntry] = []
        self._index_frames: list[int] = []
        self._index = contents.IndexRow(b"", [], [])
        self._index_digests = bytearray()
        self._columns = MessageColumns()
        self._terms = TermsColumns()
        self._mailbox = MailboxUnderWay()
        self._references: dict[ArchiveId, None] = {}
        self._copy: tuple[Stored, int] | None = None
        self.lost_frames: list[int] = []
        if draft is None:
            self._write_header()
        else:
            self._go_on(draft)

    def _go_on(self, draft: Draft) -> None:
        whole = draft.archive.directory
        last = whole.mailboxes[-1]
        mailbox = draft.archive.stored_frame(last.frames[0], FrameType.MAILBOX)
        self._copy = mailbox, mailbox[0].position
        self._entries.extend(whole.mailboxes)
        self._index_frames.extend(whole.index_frames)
        self._references.update(dict.fromkeys(whole.references))
        self._blocks.go_on(whole.blocks, whole.data_bytes)
        self._out.size_bytes, self._out.frames = draft.size_bytes, draft.frames

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
    def holes(self) -> tuple[Stretch, ...]:
        """What was left out of the data so far, ascending."""
        return self._blocks.holes()

    def append(self, data: bytes | memoryview) -> int:
        """Store data; returns its offset. A piece of up to half a block lies in one block."""
        return self._blocks.append(data)

    def copy_block(self, block: Stored) -> None:
        """Store a whole block of another archive (or generation), as it is stored."""
        self._blocks.copy(block)

    def leave_out(self, size: int) -> None:
        """The next bytes of the data, so many, are not there: a hole."""
        self._blocks.leave_out(size)

    def remember(self, digest: bytes, offset: int, length: int) -> None:
        """Note a segment in the index that the next run starts from."""
        self._index_digests += digest
        self._index.offsets.append(offset)
        self._index.lengths.append(length)
        if len(self._index.offsets) >= _INDEX_ROWS:
            self._flush_index()

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

    def copy_messages(self, source: ArchiveReader, entry: MailboxEntry, number: int) -> Totals:
        """All messages of a MESSAGES frame of another archive go into the folder that is being written, as
        they are stored there. Raises DamagedError, and writes nothing, if the frame is damaged; what they can
        be found by may be lost."""
        stored, terms = source.stored_messages(entry, number)
        rows = MessageRows(frames.decode_payload(*stored, source.file.name))
        copied, archives = rows.totals, rows.archives
        if len(self._columns):
            self._flush_messages()
        # From here on nothing but the sink can fail.
        self._mailbox.begin_frame(archives, copied.messages)
        self._copy_messages(stored, terms)
        return copied

    def end_folder(self, folder: Folder, mark: bytes = b"") -> None:
        """All messages of this folder were added; a folder that comes again goes on, and its last ``mark``
        counts. Raises StoreError, and drops the folder, if the mailbox has more folders than the format can
        hold."""
        if len(self._columns):
            self._flush_messages()
        self._mailbox.end_folder(folder, mark)

    def add_file(self, file: StoredFile) -> None:
        """A file of the mailbox that is no message. Raises MessageUnavailable (``too-many``) if the
        mailbox has more of them than the format can hold."""
        self._mailbox.add_file(file)

    def drop_mailbox(self) -> None:
        """Forget what was added of the mailbox that is being written; it begins anew. What was written of it
        stays, and nothing points to it."""
        if len(self._columns):
            self._flush_messages()
        self._mailbox = MailboxUnderWay(message_frames=self._mailbox.message_frames)

    def end_mailbox(
        self,
        user: str,
        place: bytes,
        listed: int,
        size_bytes: int,
        skipped: tuple[Skipped, ...],
        *,
        files_mark: bytes = b"",
        added: int = 0,
        vanished: int = 0,
        changed: bool = True,
    ) -> Mailbox:
        """The mailbox is complete: a checkpoint. Messages of a folder that was not ended are dropped."""
        if len(self._columns):
            self._flush_messages()
        mailbox = Mailbox(
            user=user,
            place=place,
            listed=listed,
            size_bytes=size_bytes,
            folders=tuple(self._mailbox.folders),
            files=tuple(self._mailbox.files),
            skipped=fitting(skipped),
            files_mark=files_mark,
            added=added,
            vanished=vanished,
            changed=changed,
            archives=tuple(self._mailbox.archives),
        )
        payload = self._out.packed(FrameType.MAILBOX, mailboxes.encode(mailbox))
        self._end_mailbox(mailboxes.entry_of(mailbox, 0, (), self.header.archive), payload)
        return mailbox

    def copy_mailbox(self, source: ArchiveReader, entry: MailboxEntry) -> MailboxEntry:
        """A whole mailbox of another archive in which nothing has changed since; returns its entry in this
        one. Its messages are copied as they are stored.

        Raises DamagedError if anything but search terms is damaged; ``drop_mailbox`` then. ValueError if
        something of the mailbox was written before.
        """
        if self._mailbox.message_frames or len(self._columns):
            raise ValueError("a mailbox can only be copied as a whole")
        header, stored = source.stored_mailbox(entry)
        payload = frames.decode_payload(header, stored, source.file.name)
        kept = mailboxes.taken_over(payload, entry)
        for number in range(len(entry.message_frames)):
            self._copy_messages(*source.stored_messages(entry, number))
        same = kept.payload is payload
        frame = (header, stored) if same else self._out.packed(FrameType.MAILBOX, kept.payload)
        return self._end_mailbox(
            replace(entry, archives=self._others(kept), added=0, vanished=0, changed=False), frame
        )

    def rewrite_mailbox(self, source: ArchiveReader, entry: MailboxEntry) -> MailboxEntry:
        """A whole mailbox of another generation of this archive, as it is stored; where its messages are
        damaged, there is an empty frame instead. Raises DamagedError, before anything is written, if the
        metadata of the mailbox itself is damaged."""
        stored = source.stored_mailbox(entry)
        kept = mailboxes.taken_over(frames.decode_payload(*stored, source.file.name), entry)
        for number in range(len(entry.message_frames)):
            try:
                self._copy_messages(*source.stored_messages(entry, number))
            except DamagedError:
                self.lost_frames.append(frames.mailbox_position(len(self._entries), number))
                self._copy_messages(self._out.packed(FrameType.MESSAGES, messages.LOST), None)
        return self._end_mailbox(replace(entry, archives=self._others(kept)), stored)

    def finish(
        self,
        departed: Iterable[Departed] = (),
        unopened: Iterable[Skipped] = (),
        lost: Losses = _NOTHING_LOST,
    ) -> ArchiveTotals:
        """Directory and footer: nothing may be added after this. ``departed`` are mailboxes that are gone,
        ``unopened`` those that could not be opened; ``lost`` is what was damaged and may be needed."""
        self._blocks.flush()
        self._flush_index()
        self._flush_copy()
        whole = contents.ArchiveDirectory(
            mailboxes=tuple(self._entries),
            blocks=self._blocks.table(),
            data_bytes=self.data_bytes,
            index_frames=tuple(self._index_frames),
            departed=tuple(departed),
            unopened=tuple(unopened),
            holes=self.holes,
            lost=lost,
        )
        *earlier, last = directory.parts(whole)
        before = [self._out.metadata(FrameType.DIRECTORY, directory.encode(part)) for part in earlier]
        payload = directory.encode(last, contents.encode_header(self.header), before)
        at = self._out.metadata(FrameType.DIRECTORY, payload)
        footer = contents.Footer(directory=at, footer=self.archive_bytes, frames=self._out.frames + 1)
        self._out.compressed(FrameType.FOOTER, None, contents.encode_footer(footer))
        return ArchiveTotals(self.data_bytes, self.archive_bytes)

    def _others(self, kept: TakenOver) -> tuple[ArchiveId, ...]:
        return tuple(one for one in kept.archives if one != self.header.archive)

    def _end_mailbox(self, entry: MailboxEntry, payload: Stored) -> MailboxEntry:
        self._blocks.flush()
        self._flush_index()
        self._flush_copy()
        number, message_frames = len(self._entries), tuple(self._mailbox.message_frames)
        if number % _HEADER_EVERY == 0:
            self._write_header()
        position = frames.mailbox_position(number, len(message_frames))
        at = self._out.copy(payload, position)
        entry = replace(entry, number=number, frames=(at,), message_frames=message_frames)
        self._copy = payload, position
        self._entries.append(entry)
        self._references.update(dict.fromkeys(entry.archives))
        self._mailbox = MailboxUnderWay()
        self._sink.checkpoint()
        return entry

    def _write_header(self) -> None:
        self._out.compressed(FrameType.HEADER, None, contents.encode_header(self.header))

    def _flush_messages(self) -> None:
        self._mailbox.begin_frame(self._columns.archives, len(self._columns))
        self._copy_messages(
            self._out.packed(FrameType.MESSAGES, self._columns.take()),
            self._out.packed(FrameType.SEARCH, self._terms.take()),
        )

    def _copy_messages(self, stored: Stored, terms: Stored | None) -> None:
        position = frames.mailbox_position(len(self._entries), len(self._mailbox.message_frames))
        self._mailbox.message_frames.append(self._out.copy(stored, position))
        self._out.copy(terms or self._out.packed(FrameType.SEARCH, search.LOST), position)

    def _flush_copy(self) -> None:
        """The MAILBOX frame again, a mailbox later: what it says is small, and much hangs on it."""
        if self._copy is not None:
            at = self._out.copy(*self._copy)
            self._entries[-1] = replace(self._entries[-1], frames=(*self._entries[-1].frames, at))
            self._copy = None

    def _flush_index(self) -> None:
        if self._index.offsets:
            row = contents.IndexRow(bytes(self._index_digests), self._index.offsets, self._index.lengths)
            self._index_frames.append(self._out.metadata(FrameType.INDEX, contents.encode_index(row)))
            self._index_digests.clear()
            self._index = contents.IndexRow(b"", [], [])
