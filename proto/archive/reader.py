"""The decoder: opens a sealed archive at its end, finds what is asked for, reads no more than that.

Reads through ``RandomAccess``, so that an archive may be a local file, a stretch of one, or an object
in remote storage. Nothing that a file claims is believed before it was checked.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from blake3 import blake3

from ..errors import DamagedError
from ..records import DIGEST_BYTES, ArchiveId, Message, Piece, StoredFile
from . import contents, frames, mailboxes, messages, recipes
from .contents import ArchiveDirectory, ArchiveHeader, MailboxEntry
from .frames import FrameHeader, FrameType
from .mailboxes import FolderEntry, Mailbox

FOOTER_FRAME_BYTES = frames.HEADER_BYTES + contents.FOOTER_BYTES


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
        length = max(0, min(length, self.size - offset))
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
    not what a writer wrote. ``open_sealed`` makes one from a whole file, ``salvage`` from a broken one.
    """

    def __init__(self, file: RandomAccess, header: ArchiveHeader, directory: ArchiveDirectory) -> None:
        self.file = file
        self.header = header
        self.directory = directory

    def frame(self, at: int, kind: FrameType) -> tuple[FrameHeader, bytes]:
        """The frame of this kind at an offset, checked and decompressed."""
        where = f"{self.file.name} at {at}"
        header = frames.decode_header(self.file.read_at(at, frames.HEADER_BYTES), where)
        if header.type is not kind:
            raise DamagedError(
                f"{where}: a {header.type.name} frame instead of {kind.name}", reason="frame-type"
            )
        stored = self.file.read_at(at + frames.HEADER_BYTES, header.stored_bytes)
        return header, frames.decode_payload(header, stored, where)

    def mailbox(self, entry: MailboxEntry) -> Mailbox:
        """The metadata of a mailbox; it must agree with the directory."""
        mailbox = mailboxes.decode(self.frame(entry.frame, FrameType.MAILBOX)[1])
        if (mailbox.user, mailbox.listed, mailbox.stored) != (entry.user, entry.listed, entry.stored):
            raise DamagedError(
                f"{self.file.name}: directory and mailbox {entry.user!r} disagree", reason="metadata"
            )
        return mailbox

    def messages(self, entry: MailboxEntry, folder: FolderEntry) -> Iterator[Message]:
        """The messages of a folder, a frame of them in memory at a time."""
        left = folder.messages
        for number in folder.frames:
            if number >= len(entry.message_frames):
                raise DamagedError(
                    f"{self.file.name}: a folder names frames that are not there", reason="metadata"
                )
            found = messages.decode(self.frame(entry.message_frames[number], FrameType.MESSAGES)[1])
            left -= len(found)
            yield from found
        if left:
            raise DamagedError(
                f"{self.file.name}: folder {folder.folder.name!r} holds more or fewer messages than it says",
                reason="metadata",
            )

    def block_at(self, offset: int) -> int:
        """The number of the block that holds this offset of the data."""
        if not 0 <= offset < self.directory.data_bytes:
            raise DamagedError(f"{self.file.name}: no data at {offset}", reason="metadata")
        return bisect_right(self.directory.blocks.data, offset) - 1

    def block(self, number: int) -> bytes:
        """The plain data of a block."""
        table = self.directory.blocks
        header, plain = self.frame(table.file[number], FrameType.BLOCK)
        end = table.data[number + 1] if number + 1 < len(table.data) else self.directory.data_bytes
        if header.position != table.data[number] or header.position + len(plain) != end:
            raise DamagedError(f"{self.file.name}: block {number} is not where it should be", reason="block")
        return plain

    def close(self) -> None:
        """Close the file. Repeatable."""
        self.file.close()


def read_frame(file: RandomAccess, at: int, kind: FrameType) -> tuple[FrameHeader, bytes]:
    """The frame of this kind at an offset, checked and decompressed. Raises DamagedError."""
    where = f"{file.name} at {at}"
    if at < 0:
        raise DamagedError(f"{file.name}: too short to be an archive", reason="truncated")
    header = frames.decode_header(file.read_at(at, frames.HEADER_BYTES), where)
    if header.type is not kind:
        raise DamagedError(f"{where}: a {header.type.name} frame instead of {kind.name}", reason="frame-type")
    stored = file.read_at(at + frames.HEADER_BYTES, header.stored_bytes)
    return header, frames.decode_payload(header, stored, where)


def read_footer(file: RandomAccess) -> contents.Footer:
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
    return footer


def open_sealed(file: RandomAccess) -> ArchiveReader:
    """A whole archive: header, footer and directory are read and checked. Raises DamagedError."""
    header, payload = read_frame(file, 0, FrameType.HEADER)
    footer = read_footer(file)
    decoded = contents.decode_header(payload)
    if (
        header.sequence != 0
        or footer.footer != file.size - FOOTER_FRAME_BYTES
        or footer.archive != decoded.archive
    ):
        raise DamagedError(f"{file.name}: header and footer do not belong together", reason="footer")
    directory = contents.decode_directory(read_frame(file, footer.directory, FrameType.DIRECTORY)[1])
    return ArchiveReader(file, decoded, directory)


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
    """The sealed archives that a file holds one after the other, found from its end.

    Raises DamagedError if the file does not end with an archive or has something else before one.
    """
    whole = LocalFile(path)
    found: list[LocalFile] = []
    try:
        while whole.size > 0:
            start = whole.size - FOOTER_FRAME_BYTES - read_footer(whole).footer
            found.append(LocalFile(path, start, whole.size - start))
            whole.size = start
    except DamagedError:
        for file in found:
            file.close()
        raise
    finally:
        whole.close()
    if not found:
        raise DamagedError(f"{path}: the file is empty", reason="no-footer")
    return found[::-1]
