"""The decoder: opens a sealed archive at its end, finds what is asked for, reads no more than that.

Reads through ``RandomAccess``, so that an archive may be a local file, a stretch of one, or an object
in remote storage. Nothing that a file claims is believed before it was checked.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Protocol

from blake3 import blake3

from ..errors import DamagedError
from ..records import DIGEST_BYTES, ArchiveId, Message, Piece, Skipped, StoredFile
from . import contents, directory, frames, mailboxes, messages, recipes
from .claims import shown
from .contents import LOST, ArchiveDirectory, ArchiveHeader, MailboxEntry
from .frames import FrameHeader, FrameType
from .mailboxes import FolderEntry, Mailbox
from .scanning import FOOTER_FRAME_BYTES, sealed_bytes


class RandomAccess(Protocol):
    """Bytes that can be read anywhere."""

    name: str
    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end. Raises DamagedError (reason ``io-error``)."""

    def close(self) -> None:
        """Repeatable."""


class LocalFile:
    """A local file, or the stretch of it that begins at ``start`` and is ``size`` bytes long."""

    def __init__(self, path: str, start: int = 0, size: int | None = None) -> None:
        self.name = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.start = start
        self.size = os.fstat(self._fd).st_size - start if size is None else size

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        length = min(length, self.size - offset)
        if offset < 0 or length <= 0:
            return b""
        try:
            data = os.pread(self._fd, length, self.start + offset)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), self.start + offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise DamagedError(f"{self.name}: {error.strerror} at {offset}", reason="io-error") from error
        return data

    def close(self) -> None:
        """See RandomAccess."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ArchiveReader:
    """One archive whose header and directory are known. Methods raise DamagedError wherever the file is
    not what a writer wrote. ``open_sealed`` makes one from a whole file, ``salvage`` from a broken one;
    ``damage`` is what salvaging found to be broken.
    """

    def __init__(
        self,
        file: RandomAccess,
        header: ArchiveHeader,
        directory: ArchiveDirectory,
        damage: tuple[Skipped, ...] = (),
    ) -> None:
        self.file = file
        self.header = header
        self.directory = directory
        self.damage = damage
        self._entries: dict[str, MailboxEntry] | None = None

    def entry(self, user: str) -> MailboxEntry | None:
        """The directory's entry of a user's mailbox, or None."""
        if self._entries is None:
            self._entries = {one.user: one for one in self.directory.mailboxes}
        return self._entries.get(user)

    def frame(self, at: int, kind: FrameType) -> tuple[FrameHeader, bytes]:
        """The frame of this kind at an offset, checked and decompressed."""
        return read_frame(self.file, at, kind, self.header.archive)

    def mailbox(self, entry: MailboxEntry) -> Mailbox:
        """The metadata of a mailbox, from its frame or the copy of it; it must agree with the directory."""
        *first, last = entry.frames
        for at in first:
            try:
                return self._mailbox(entry, at)
            except DamagedError:
                continue
        return self._mailbox(entry, last)

    def _mailbox(self, entry: MailboxEntry, at: int) -> Mailbox:
        header, payload = self.frame(at, FrameType.MAILBOX)
        mailbox = mailboxes.decode(payload)
        told = frames.mailbox_position(entry.number, len(entry.message_frames))
        if (header.position, mailbox.user, mailbox.listed, mailbox.stored) != (
            told,
            entry.user,
            entry.listed,
            entry.stored,
        ):
            raise DamagedError(
                f"{self.file.name}: directory and mailbox {shown(entry.user)} disagree", reason="metadata"
            )
        return mailbox

    def messages(self, entry: MailboxEntry, folder: FolderEntry) -> Iterator[Message]:
        """The messages of a folder, a frame of them in memory at a time. Frames that are damaged are left
        out; DamagedError is raised after the last message then."""
        left = folder.messages
        damage: DamagedError | None = None
        for number in folder.frames:
            try:
                found = self._messages(entry, number)
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

    def _messages(self, entry: MailboxEntry, number: int) -> list[Message]:
        at = entry.message_frames[number] if number < len(entry.message_frames) else LOST
        if at == LOST:
            raise DamagedError(f"frame {number} of its messages is gone", reason="metadata")
        header, payload = self.frame(at, FrameType.MESSAGES)
        if header.position != frames.mailbox_position(entry.number, number):
            raise DamagedError(f"{self.file.name} at {at}: messages of another place", reason="frame-type")
        return messages.decode(payload)

    def block_at(self, offset: int) -> int:
        """The number of the block that holds this offset of the data."""
        if not 0 <= offset < self.directory.data_bytes:
            raise DamagedError(f"{self.file.name}: no data at {offset}", reason="metadata")
        return bisect_right(self.directory.blocks.data, offset) - 1

    def block(self, number: int) -> bytes:
        """The plain data of a block."""
        table = self.directory.blocks
        if table.file[number] == LOST:
            raise DamagedError(f"{self.file.name}: block {number} is gone", reason="block")
        header, plain = self.frame(table.file[number], FrameType.BLOCK)
        end = table.data[number + 1] if number + 1 < len(table.data) else self.directory.data_bytes
        if header.position != table.data[number] or header.position + len(plain) != end:
            raise DamagedError(f"{self.file.name}: block {number} is not where it should be", reason="block")
        return plain

    def close(self) -> None:
        """Close the file. Repeatable."""
        self.file.close()


def read_frame(
    file: RandomAccess, at: int, kind: FrameType, owner: ArchiveId | None = None
) -> tuple[FrameHeader, bytes]:
    """The frame of this kind (and archive) at an offset, checked and decompressed. Raises DamagedError."""
    where = f"{file.name} at {at}"
    if at < 0:
        raise DamagedError(f"{file.name}: too short to be an archive", reason="truncated")
    header = frames.decode_header(file.read_at(at, frames.HEADER_BYTES), where, owner)
    if header.type is not kind:
        raise DamagedError(f"{where}: a {header.type.name} frame instead of {kind.name}", reason="frame-type")
    stored = file.read_at(at + frames.HEADER_BYTES, header.stored_bytes)
    return header, frames.decode_payload(header, stored, where)


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


def open_sealed(file: RandomAccess) -> ArchiveReader:
    """A whole archive: header, footer and directory are read and checked. Raises DamagedError."""
    header, payload = read_frame(file, 0, FrameType.HEADER)
    decoded = contents.decode_header(payload)
    end, footer = read_footer(file)
    if (
        header.sequence != 0
        or footer.footer != file.size - FOOTER_FRAME_BYTES
        or not header.archive == end.archive == decoded.archive
    ):
        raise DamagedError(f"{file.name}: header and footer do not belong together", reason="footer")
    return ArchiveReader(file, decoded, _directory(file, footer, decoded.archive))


def _directory(file: RandomAccess, footer: contents.Footer, archive: ArchiveId) -> ArchiveDirectory:
    def part(at: int) -> directory.DirectoryFrame:
        return directory.decode(read_frame(file, at, FrameType.DIRECTORY, archive)[1])

    last = part(footer.directory)
    # Each frame has a header, so a small file can't name many frames: nothing grows beyond its size.
    most_frames = min(footer.frames, file.size // frames.HEADER_BYTES)
    return directory.join(chain((part(at).part for at in last.before), (last.part,)), most_frames)


class Contents:
    """The data of a set of archives, by pieces. Keeps the blocks read last, up to ``cache_bytes``."""

    def __init__(
        self, open_archive: Callable[[ArchiveId], ArchiveReader], cache_bytes: int = 64 << 20
    ) -> None:
        self._open_archive = open_archive
        self._archives: dict[ArchiveId, ArchiveReader] = {}
        self._blocks: OrderedDict[tuple[ArchiveId, int], bytes] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cached = 0
        self.blocks_read = 0

    def message(self, message: Message | StoredFile) -> Iterator[bytes]:
        """The bytes of a message or file. Raises DamagedError after the last one if they are not what
        was stored, so whoever writes them makes them visible only when the iterator has ended."""
        digest, size = blake3(), 0
        for chunk in self._chunks(message.pieces):
            size += len(chunk)
            if size > message.size:
                break
            digest.update(chunk)
            yield chunk
        if size != message.size or digest.digest(length=DIGEST_BYTES) != message.digest:
            raise DamagedError("the content does not match its checksum", reason="content")

    def _chunks(self, pieces: Iterable[Piece]) -> Iterator[bytes]:
        run: list[Piece] = []
        for piece in pieces:
            if run and not piece.joined:
                yield from recipes.encode(self._run(run), run[0].recipe)
                run.clear()
            if piece.recipe == recipes.RAW:
                yield from self._raw(piece)
            elif run and run[0].recipe != piece.recipe:
                raise DamagedError("pieces of one run have different recipes", reason="metadata")
            else:
                run.append(piece)
        if run:
            yield from recipes.encode(self._run(run), run[0].recipe)

    def _run(self, pieces: list[Piece]) -> Iterator[bytes]:
        for piece in pieces:
            yield from self._raw(piece)

    def _raw(self, piece: Piece) -> Iterator[bytes]:
        offset, left = piece.offset, piece.length
        archive = self._archive(piece.archive)
        while left > 0:
            number = archive.block_at(offset)
            block = self._block(archive, piece.archive, number)
            within = offset - archive.directory.blocks.data[number]
            chunk = block[within : within + left]
            yield chunk
            offset += len(chunk)
            left -= len(chunk)

    def _archive(self, archive: ArchiveId) -> ArchiveReader:
        reader = self._archives.get(archive)
        if reader is None:
            reader = self._archives[archive] = self._open_archive(archive)
        return reader

    def _block(self, archive: ArchiveReader, name: ArchiveId, number: int) -> bytes:
        block = self._blocks.get((name, number))
        if block is not None:
            self._blocks.move_to_end((name, number))
            return block
        block = archive.block(number)
        self.blocks_read += 1
        self._blocks[name, number] = block
        self._cached += len(block)
        while self._cached > self._cache_bytes and len(self._blocks) > 1:
            self._cached -= len(self._blocks.popitem(last=False)[1])
        return block


def archives_in(path: str) -> list[LocalFile]:
    """The archives that a file holds one after the other. They are found from its end, footer by footer;
    where one is damaged, those before it are found from the front. What is no archive at all counts as one,
    so that whoever opens it will tell of it.

    Raises DamagedError if the file is empty, or no archive is in it.
    """
    whole = LocalFile(path)
    last: list[LocalFile] = []
    first: list[LocalFile] = []
    try:
        with suppress(DamagedError):
            while whole.size > 0:
                start = whole.size - FOOTER_FRAME_BYTES - read_footer(whole)[1].footer
                last.append(LocalFile(path, start, whole.size - start))
                whole.size = start
        start = 0
        while start < whole.size:
            rest = LocalFile(path, start, whole.size - start)
            first.append(rest)
            try:
                rest.size = sealed_bytes(rest) or rest.size
            except DamagedError:
                if not last and rest is first[0]:
                    raise
            start += rest.size
    except BaseException:
        for file in (*first, *last):
            file.close()
        raise
    finally:
        whole.close()
    if not first and not last:
        raise DamagedError(f"{path}: the file is empty", reason="no-footer")
    return [*first, *reversed(last)]
