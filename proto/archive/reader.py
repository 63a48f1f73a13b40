"""The decoder: opens a sealed archive at its end, finds what is asked for, reads no more than that.

Reads through ``RandomAccess``, so that an archive may be a local file, a stretch of one, or an object
in remote storage. Nothing that a file claims is believed before it was checked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import chain

from ..errors import DamagedError
from ..records import ArchiveId, Losses, Message, Skipped, Stretch, Terms
from . import contents, directory, frames, mailboxes, messages, search
from .claims import shown
from .contents import LAST, LOST, ArchiveDirectory, ArchiveHeader, IndexRow, MailboxEntry, frames_gone
from .files import RandomAccess, ReadAhead, read_frame, read_header, read_stored
from .frames import FrameHeader, FrameType
from .mailboxes import FolderEntry, Mailbox
from .scanning import FOOTER_FRAME_BYTES
from .whereabouts import Whereabouts

_Read = Callable[[RandomAccess, int, FrameType, ArchiveId], tuple[FrameHeader, bytes]]


class ArchiveReader:
    """One archive whose header and directory are known. Methods raise DamagedError wherever the file is
    not what a writer wrote. ``open_sealed`` makes one from a whole file, ``salvage`` from a broken one;
    ``damage`` is what salvaging found to be broken; with ``cut`` nobody knows where its data ended. A frame
    that is not where the directory says, or not whole, is looked for in all of ``copies``: the file itself,
    and others that hold the same archive.
    """

    def __init__(
        self,
        file: RandomAccess,
        header: ArchiveHeader,
        directory: ArchiveDirectory,
        damage: tuple[Skipped, ...] = (),
        copies: RandomAccess | None = None,
        *,
        cut: bool = False,
    ) -> None:
        self.file = file
        self.header = header
        self.directory = directory
        self.damage = damage
        self.cut = cut
        self.copies = copies
        self._elsewhere = Whereabouts(copies or file, header.archive)
        # Frames of metadata are small and lie side by side; blocks are large.
        self._metadata = ReadAhead(file)
        self._entries: dict[str, MailboxEntry] | None = None

    def entry(self, user: str) -> MailboxEntry | None:
        """The directory's entry of a user's mailbox, or None."""
        if self._entries is None:
            self._entries = {one.user: one for one in self.directory.mailboxes}
        return self._entries.get(user)

    @property
    def behind(self) -> tuple[Stretch, ...]:
        """The data behind the end that is known, if there may have been some."""
        end = self.directory.data_bytes
        return (Stretch(end, LAST - end),) if self.cut else ()

    @property
    def gone(self) -> Losses:
        """What is not there of data and metadata: of a damaged archive all that may be lost."""
        entries = self.directory.mailboxes
        lost = [
            frames.mailbox_position(one.number, number)
            for one in entries
            for number, at in enumerate(one.message_frames)
            if at == LOST
        ]
        return Losses(
            (*self.directory.holes, *self.behind), frames_gone([one.number for one in entries], lost)
        )

    def frame(self, at: int, kind: FrameType, position: int | None = None) -> tuple[FrameHeader, bytes]:
        """The frame of this kind (and position) at an offset, or wherever it is, checked and decompressed."""
        return self._found(read_frame, at, kind, position)

    def stored_frame(
        self, at: int, kind: FrameType, position: int | None = None
    ) -> tuple[FrameHeader, bytes]:
        """The same as it is stored, checked and not decompressed: for copying."""
        return self._found(read_stored, at, kind, position)

    def _found(
        self, read: _Read, at: int, kind: FrameType, position: int | None
    ) -> tuple[FrameHeader, bytes]:
        archive = self.header.archive
        try:
            found = read(self._file(kind), at, kind, archive)
            if position in (None, found[0].position):
                return found
            error = DamagedError(
                f"{self.file.name} at {at}: a {kind.name} frame of another place", reason="frame-type"
            )
        except DamagedError as damage:
            error = damage
        other = self._elsewhere.offset(kind, position) if position is not None else None
        if other is None:
            raise error
        return read(self._elsewhere.file, other, kind, archive)

    def _file(self, kind: FrameType) -> RandomAccess:
        return self.file if kind is FrameType.BLOCK else self._metadata

    def mailbox(self, entry: MailboxEntry) -> Mailbox:
        """The metadata of a mailbox, from its frame or the copy of it; it must agree with the directory."""
        return self.mailbox_frame(entry)[1]

    def mailbox_frame(self, entry: MailboxEntry) -> tuple[bytes, Mailbox]:
        """The payload of a mailbox's frame or of the copy of it, and the metadata in it."""
        *first, last = entry.frames
        for at in first:
            try:
                return self._mailbox(entry, at)
            except DamagedError:
                continue
        return self._mailbox(entry, last)

    def _mailbox(self, entry: MailboxEntry, at: int) -> tuple[bytes, Mailbox]:
        told = frames.mailbox_position(entry.number, len(entry.message_frames))
        _, payload = self.frame(at, FrameType.MAILBOX, told)
        mailbox = mailboxes.decode(payload)
        if (mailbox.user, mailbox.listed, mailbox.stored) != (
            entry.user,
            entry.listed,
            entry.stored,
        ):
            raise DamagedError(
                f"{self.file.name}: directory and mailbox {shown(entry.user)} disagree", reason="metadata"
            )
        return payload, mailbox

    def messages(self, entry: MailboxEntry, folder: FolderEntry) -> Iterator[Message]:
        """The messages of a folder, a frame of them in memory at a time. Frames that are damaged are left
        out; DamagedError is raised after the last message then."""
        left = folder.messages
        damage: DamagedError | None = None
        for number in folder.frames:
            try:
                found = messages.decode(self.message_frame(entry, number))
            except DamagedError as error:
                damage = damage or error
                continue
            left -= len(found)
            if left < 0:
                break
            yield from found
        if left or damage:
            raise DamagedError(
                f"{self.file.name}: {left} of {folder.messages} messages of folder "
                f"{shown(folder.folder.name)} are lost: {damage or 'their metadata contradicts itself'}",
                reason="metadata",
            ) from damage

    def message_frame(self, entry: MailboxEntry, number: int) -> bytes:
        """The payload of a MESSAGES frame of a mailbox, by its number in the mailbox."""
        position = frames.mailbox_position(entry.number, number)
        _, payload = self.frame(self._message_frame_at(entry, number), FrameType.MESSAGES, position)
        self._refuse_lost(payload, entry, number)
        return payload

    def _refuse_lost(self, payload: bytes, entry: MailboxEntry, number: int) -> None:
        if messages.is_lost(payload):
            raise DamagedError(
                f"{self.file.name}: frame {number} of the messages of {shown(entry.user)} was damaged, and "
                "lost when the archive was written anew",
                reason="metadata",
            )

    def frame_header(self, entry: MailboxEntry, number: int) -> FrameHeader:
        """The header of a MESSAGES frame of a mailbox: those with the same checksum say the same, in every
        archive."""
        at = self._message_frame_at(entry, number)
        try:
            header = read_header(self._metadata, at, FrameType.MESSAGES, self.header.archive)
            self._check_position(header, entry, number)
        except DamagedError:
            header = self.stored_frame(at, FrameType.MESSAGES, frames.mailbox_position(entry.number, number))[
                0
            ]
        return header

    def stored_mailbox(self, entry: MailboxEntry) -> tuple[FrameHeader, bytes]:
        """The MAILBOX frame of a mailbox or the copy of it as it is stored. Only its place is checked."""
        damage: DamagedError | None = None
        position = frames.mailbox_position(entry.number, len(entry.message_frames))
        for at in entry.frames:
            try:
                return self.stored_frame(at, FrameType.MAILBOX, position)
            except DamagedError as error:
                damage = damage or error
        raise damage or DamagedError(f"{self.file.name}: a mailbox without a frame", reason="metadata")

    def stored_messages(
        self, entry: MailboxEntry, number: int
    ) -> tuple[tuple[FrameHeader, bytes], tuple[FrameHeader, bytes] | None]:
        """A MESSAGES frame of a mailbox and the SEARCH frame behind it as they are stored; None for that if
        it is damaged."""
        at = self._message_frame_at(entry, number)
        position = frames.mailbox_position(entry.number, number)
        header, stored = self.stored_frame(at, FrameType.MESSAGES, position)
        if header.plain_bytes <= messages.MOST_LOST_BYTES:
            self._refuse_lost(frames.decode_payload(header, stored, self.file.name), entry, number)
        try:
            behind = at + frames.HEADER_BYTES + header.stored_bytes
            terms = self.stored_frame(behind, FrameType.SEARCH, position)
        except DamagedError:
            return (header, stored), None
        return (header, stored), terms

    def search_frame(self, entry: MailboxEntry, number: int) -> bytes:
        """The payload of the SEARCH frame behind a MESSAGES frame of a mailbox."""
        position = frames.mailbox_position(entry.number, number)
        return self.frame(self._search_frame_at(entry, number), FrameType.SEARCH, position)[1]

    def terms(self, entry: MailboxEntry, number: int) -> list[Terms]:
        """What the messages of a MESSAGES frame can be found by, row by row."""
        found = search.decode(self.search_frame(entry, number))
        if not found:
            raise DamagedError(
                f"{self.file.name}: the terms of {shown(entry.user)}, frame {number}, were lost",
                reason="terms",
            )
        return found

    def _search_frame_at(self, entry: MailboxEntry, number: int) -> int:
        header = self.frame_header(entry, number)
        return entry.message_frames[number] + frames.HEADER_BYTES + header.stored_bytes

    def _message_frame_at(self, entry: MailboxEntry, number: int) -> int:
        at = entry.message_frames[number] if number < len(entry.message_frames) else LOST
        if at == LOST:
            raise DamagedError(f"frame {number} of its messages is gone", reason="metadata")
        return at

    def _check_position(self, header: FrameHeader, entry: MailboxEntry, number: int) -> None:
        if header.position != frames.mailbox_position(entry.number, number):
            raise DamagedError(
                f"{self.file.name}: messages of another place than {shown(entry.user)}, frame {number}",
                reason="frame-type",
            )

    def index(self, *, lost: bool = False) -> Iterator[IndexRow]:
        """The segments that the archive holds, an INDEX frame at a time; with ``lost`` also those that lie in
        a hole. Frames that are damaged are left out; DamagedError is raised after the last row then."""
        damage: DamagedError | None = None
        for at in self.directory.index_frames:
            try:
                row = contents.decode_index(self.frame(at, FrameType.INDEX)[1])
                held = self.directory.held(row)
            except DamagedError as error:
                damage = damage or error
            else:
                yield row if lost else held
        if damage:
            raise damage

    def block_at(self, offset: int) -> int:
        """The number of the block that holds this offset of the data."""
        if not 0 <= offset < self.directory.data_bytes:
            raise DamagedError(f"{self.file.name}: no data at {offset}", reason="metadata")
        if self.directory.hole_at(offset) is not None:
            raise DamagedError(f"{self.file.name}: the data at {offset} is not kept any more", reason="hole")
        return bisect_right(self.directory.blocks.data, offset) - 1

    def block(self, number: int) -> bytes:
        """The plain data of a block."""
        table = self.directory.blocks
        header, plain = self.frame(table.file[number], FrameType.BLOCK, table.data[number])
        self._check_block(header, number)
        return plain

    def stored_block(self, number: int) -> tuple[FrameHeader, bytes]:
        """The frame of a block as it is stored."""
        table = self.directory.blocks
        header, stored = self.stored_frame(table.file[number], FrameType.BLOCK, table.data[number])
        self._check_block(header, number)
        return header, stored

    def _check_block(self, header: FrameHeader, number: int) -> None:
        start, end = self.directory.blocks.data[number], self.directory.block_end(number)
        if (header.position, header.position + header.plain_bytes) != (start, end):
            raise DamagedError(f"{self.file.name}: block {number} is not where it should be", reason="block")

    def close(self) -> None:
        """Close the file. Repeatable."""
        self.file.close()


def read_footer(file: RandomAccess) -> tuple[FrameHeader, contents.Footer]:
    """The footer at the end of a file; it says where the archive begins. Raises DamagedError."""
    at = file.size - FOOTER_FRAME_BYTES
    try:
        header, payload = read_frame(file, at, FrameType.FOOTER)
    except DamagedError as error:
        raise DamagedError(
            f"{file.name}: the archive has no end: it was cut off, damaged there, or never sealed",
            reason="no-footer",
        ) from error
    footer = contents.decode_footer(payload)
    if footer.footer > at:
        raise DamagedError(f"{file.name}: the footer tells of more than the file holds", reason="footer")
    if header.sequence + 1 != footer.frames:
        raise DamagedError(f"{file.name}: the footer counts other frames", reason="sequence")
    return header, footer


def open_sealed(file: RandomAccess, copies: RandomAccess | None = None) -> ArchiveReader:
    """A whole archive: header, footer and directory are read and checked. ``copies``: see ArchiveReader.
    Raises DamagedError."""
    header, payload = read_frame(file, 0, FrameType.HEADER)
    decoded = contents.decode_header(payload)
    end, footer = read_footer(file)
    if (
        header.sequence != 0
        or footer.footer != file.size - FOOTER_FRAME_BYTES
        or not header.archive == end.archive == decoded.archive
    ):
        raise DamagedError(f"{file.name}: header and footer do not belong together", reason="footer")
    return ArchiveReader(file, decoded, _directory(file, footer, decoded.archive), copies=copies)


def _directory(file: RandomAccess, footer: contents.Footer, archive: ArchiveId) -> ArchiveDirectory:
    left = directory.MOST_PLAIN_BYTES

    def part(at: int) -> directory.DirectoryFrame:
        nonlocal left
        header, payload = read_frame(file, at, FrameType.DIRECTORY, archive)
        left -= header.plain_bytes
        if left < 0:
            raise DamagedError(f"{file.name}: the directory is too large to be one", reason="length")
        return directory.decode(payload)

    last = part(footer.directory)
    # Each frame has a header, so a small file can't name many frames: nothing grows beyond its size.
    most_frames = min(footer.frames, file.size // frames.HEADER_BYTES)
    return directory.join(chain((part(at).part for at in last.before), (last.part,)), most_frames)
