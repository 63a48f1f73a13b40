"""The encoder: from data and metadata to frames, written forward only into a sink.

Owns the order of writes (FORMAT.md, "Order of writes"): data before the metadata that points to it,
a mailbox's messages before the mailbox, everything before the directory, the footer last.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace

from ..errors import MessageUnavailable, StoreError
from ..ports import ArchiveSink
from ..records import Folder, Message, Skipped, StoredFile
from . import contents, directory, frames, mailboxes
from .draft import Draft
from .frames import Codec, FrameType
from .messages import MessageColumns

BLOCK_BYTES = 256 << 10
_INDEX_ROWS = 1 << 16
_MOST_MAILBOX_BYTES = 6 << 20
_MOST_SKIPPED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveTotals:
    """What an archive came to. ``data_bytes`` is before compression, ``archive_bytes`` the whole file."""

    data_bytes: int
    archive_bytes: int


class ArchiveWriter:
    """Writes one archive. The caller hands over mailboxes one after the other, and of each:
    ``append`` and ``add_message`` for every message of a folder, ``end_folder``, ``add_file``,
    at last ``end_mailbox``; after all of them ``finish``. Sealing is the sink's.

    ``data_bytes`` and ``archive_bytes`` are what it has come to so far, before and after compression.
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
        self.data_bytes = 0
        self.archive_bytes = 0
        self._sink = sink
        self._sequence = 0
        self._data_codec = frames.Compressor(codec, level)
        # Metadata has little but entropy to give: the entropy coder halves it where LZ4 would not.
        self._metadata_codec = frames.Compressor(Codec.ZSTD)
        self._block = bytearray()
        self._block_data = array("Q")
        self._block_file = array("Q")
        self._entries: list[contents.MailboxEntry] = []
        self._index_frames: list[int] = []
        self._index = contents.IndexRow(b"", [], [])
        self._index_digests = bytearray()
        self._columns = MessageColumns()
        self._message_frames: list[int] = []
        self._folder_frames: list[int] = []
        self._folder_messages = 0
        self._folders: list[mailboxes.FolderEntry] = []
        self._folder_numbers: dict[bytes, int] = {}
        self._files: list[StoredFile] = []
        self._mailbox_bytes = 0
        self._copy: tuple[bytes, int] | None = None
        if draft is None:
            self._frame(FrameType.HEADER, contents.encode_header(header), Codec.NONE)
        else:
            self._go_on(draft)

    def _go_on(self, draft: Draft) -> None:
        whole = draft.archive.directory
        last = whole.mailboxes[-1]
        mailbox, payload = draft.archive.frame(last.frames[0], FrameType.MAILBOX)
        self._copy = payload, mailbox.position
        self._entries.extend(whole.mailboxes)
        self._index_frames.extend(whole.index_frames)
        self._block_data.extend(whole.blocks.data)
        self._block_file.extend(whole.blocks.file)
        self.data_bytes = whole.data_bytes
        self.archive_bytes = draft.size_bytes
        self._sequence = draft.frames

    def append(self, data: bytes | memoryview) -> int:
        """Store data; returns its offset. A piece of up to half a block lies in one block."""
        block, size = self._block, len(data)
        if len(block) + size > BLOCK_BYTES and len(block) > BLOCK_BYTES // 2:
            self._flush_block()
        offset = self.data_bytes
        block += data
        self.data_bytes = offset + size
        while len(block) >= BLOCK_BYTES:
            self._flush_block()
        return offset

    def remember(self, digest: bytes, offset: int, length: int) -> None:
        """Note a segment in the index that the next run starts from."""
        self._index_digests += digest
        self._index.offsets.append(offset)
        self._index.lengths.append(length)
        if len(self._index.offsets) >= _INDEX_ROWS:
            self._flush_index()

    def add_message(self, message: Message) -> None:
        """A message of the folder that is being written. Raises StoreError if it is beyond the format."""
        self._columns.add(message)
        self._folder_messages += 1
        if self._columns.full:
            self._flush_messages()

    def end_folder(self, folder: Folder) -> None:
        """All messages of this folder were added; a folder that comes again goes on. Raises StoreError, and
        drops the folder, if the mailbox has more folders than the format can hold."""
        if len(self._columns):
            self._flush_messages()
        entry = mailboxes.FolderEntry(folder, self._folder_messages, tuple(self._folder_frames))
        self._folder_frames, self._folder_messages = [], 0
        number = self._folder_numbers.get(folder.path)
        if number is not None:
            known = self._folders[number]
            self._folders[number] = mailboxes.FolderEntry(
                replace(folder, directories=known.folder.directories),
                known.messages + entry.messages,
                known.frames + entry.frames,
            )
            return
        if not self._fits(mailboxes.folder_bytes(entry)):
            raise StoreError("the mailbox has too many folders for one archive")
        self._folder_numbers[folder.path] = len(self._folders)
        self._folders.append(entry)

    def add_file(self, file: StoredFile) -> None:
        """A file of the mailbox that is no message. Raises MessageUnavailable (``too-many``) if the
        mailbox has more of them than the format can hold."""
        if not self._fits(mailboxes.file_bytes(file)):
            raise MessageUnavailable(
                "the mailbox has too many other files for one archive", reason="too-many"
            )
        self._files.append(file)

    def end_mailbox(
        self, user: str, place: bytes, listed: int, size_bytes: int, skipped: tuple[Skipped, ...]
    ) -> mailboxes.Mailbox:
        """The mailbox is complete: a checkpoint. Messages of a folder that was not ended are dropped."""
        if len(self._columns):
            self._flush_messages()
        mailbox = mailboxes.Mailbox(
            user=user,
            place=place,
            listed=listed,
            size_bytes=size_bytes,
            folders=tuple(self._folders),
            files=tuple(self._files),
            skipped=_fitting(skipped),
        )
        self._flush_block()
        self._flush_index()
        self._flush_copy()
        number = len(self._entries)
        position = frames.mailbox_position(number, len(self._message_frames))
        payload = mailboxes.encode(mailbox)
        at = self._frame(FrameType.MAILBOX, payload, position=position)
        self._copy = payload, position
        self._entries.append(
            contents.MailboxEntry(
                number=number,
                user=user,
                frames=(at,),
                message_frames=tuple(self._message_frames),
                folders=len(mailbox.folders),
                listed=listed,
                stored=mailbox.stored,
                size_bytes=size_bytes,
            )
        )
        self._message_frames, self._folder_frames, self._folders, self._files = [], [], [], []
        self._folder_numbers = {}
        self._folder_messages = self._mailbox_bytes = 0
        self._sink.checkpoint()
        return mailbox

    def finish(self) -> ArchiveTotals:
        """Directory and footer: nothing may be added after this."""
        self._flush_block()
        self._flush_index()
        self._flush_copy()
        whole = contents.ArchiveDirectory(
            mailboxes=tuple(self._entries),
            blocks=contents.BlockTable(data=self._block_data, file=self._block_file),
            data_bytes=self.data_bytes,
            index_frames=tuple(self._index_frames),
        )
        *earlier, last = directory.parts(whole)
        before = [self._frame(FrameType.DIRECTORY, directory.encode(part)) for part in earlier]
        payload = directory.encode(last, contents.encode_header(self.header), before)
        at = self._frame(FrameType.DIRECTORY, payload)
        footer = contents.Footer(directory=at, footer=self.archive_bytes, frames=self._sequence + 1)
        self._frame(FrameType.FOOTER, contents.encode_footer(footer), Codec.NONE)
        return ArchiveTotals(self.data_bytes, self.archive_bytes)

    def _fits(self, more_bytes: int) -> bool:
        """Take so many bytes of what a MAILBOX frame can hold, if they are left."""
        fits = self._mailbox_bytes + more_bytes <= _MOST_MAILBOX_BYTES
        self._mailbox_bytes += more_bytes if fits else 0
        return fits

    def _flush_block(self) -> None:
        block = self._block
        if not block:
            return
        with memoryview(block) as whole:
            data = whole[:BLOCK_BYTES]
            start = self.data_bytes - len(block)
            self._block_data.append(start)
            self._block_file.append(self.archive_bytes)
            codec, payload = self._data_codec.compress(data)
            self._emit(FrameType.BLOCK, codec, payload, len(data), start)
            data.release()
        del block[:BLOCK_BYTES]

    def _flush_messages(self) -> None:
        number = len(self._message_frames)
        position = frames.mailbox_position(len(self._entries), number)
        self._folder_frames.append(number)
        self._message_frames.append(self._frame(FrameType.MESSAGES, self._columns.take(), position=position))

    def _flush_copy(self) -> None:
        """The MAILBOX frame again, a mailbox later: what it says is small, and much hangs on it."""
        if self._copy is not None:
            payload, position = self._copy
            at = self._frame(FrameType.MAILBOX, payload, position=position)
            self._entries[-1] = replace(self._entries[-1], frames=(*self._entries[-1].frames, at))
            self._copy = None

    def _flush_index(self) -> None:
        if self._index.offsets:
            row = contents.IndexRow(bytes(self._index_digests), self._index.offsets, self._index.lengths)
            self._index_frames.append(self._frame(FrameType.INDEX, contents.encode_index(row)))
            self._index_digests.clear()
            self._index = contents.IndexRow(b"", [], [])

    def _frame(self, kind: FrameType, payload: bytes, codec: Codec = Codec.ZSTD, *, position: int = 0) -> int:
        at = self.archive_bytes
        if len(payload) > frames.LARGEST_FRAME:
            raise OverflowError(f"a {kind.name} frame of {len(payload)} bytes is beyond the format")
        used, stored = (
            self._metadata_codec.compress(payload) if codec is Codec.ZSTD else (Codec.NONE, payload)
        )
        self._emit(kind, used, stored, len(payload), position)
        return at

    def _emit(
        self,
        kind: FrameType,
        codec: Codec,
        payload: bytes | bytearray | memoryview,
        plain_bytes: int,
        position: int,
    ) -> None:
        self._sink.write(
            frames.encode_header(
                kind, codec, payload, plain_bytes, self.header.archive, self._sequence, position
            )
        )
        self._sink.write(payload)
        self.archive_bytes += frames.HEADER_BYTES + len(payload)
        self._sequence += 1


def _fitting(skipped: tuple[Skipped, ...]) -> tuple[Skipped, ...]:
    """As many as a MAILBOX frame has room for; the last one then tells how many more there are."""
    left = _MOST_SKIPPED_BYTES
    for number, one in enumerate(skipped):
        left -= 16 + 4 * (len(one.path) + len(one.reason) + len(one.detail))
        if left < 0 and number:
            more = replace(skipped[number - 1], detail=f"and {len(skipped) - number} more, not listed")
            return (*skipped[: number - 1], more)
    return skipped
