"""Reading an archive that has no valid end, or is damaged anywhere: frame by frame from the front.

A frame header has a magic number and a checksum of its own, so after damage the next whole frame is
found by looking for one. What the frames before the end say replaces the directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import DamagedError, UnsupportedError
from . import contents, frames, mailboxes
from .contents import ArchiveDirectory, ArchiveHeader, BlockTable, MailboxEntry
from .frames import FrameHeader, FrameType
from .reader import ArchiveReader, RandomAccess

_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundFrame:
    """A frame that lies at ``at``: its payload, or why there is none."""

    at: int
    header: FrameHeader
    payload: bytes
    damage: DamagedError | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the file in which no frame begins."""

    at: int
    length: int


def scan(file: RandomAccess) -> Iterator[FoundFrame | Gap]:
    """Every frame of a file in order, and every stretch between frames that is none."""
    at = 0
    while at < file.size:
        where = f"{file.name} at {at}"
        try:
            header = frames.decode_header(file.read_at(at, frames.HEADER_BYTES), where)
        except (DamagedError, UnsupportedError):
            following = _next_header(file, at + 1)
            yield Gap(at, following - at)
            at = following
            continue
        start = at + frames.HEADER_BYTES
        try:
            payload = frames.decode_payload(header, file.read_at(start, header.stored_bytes), where)
        except DamagedError as error:
            yield FoundFrame(at, header, b"", error)
            # The length is covered by the header's checksum, so the next frame is where it says.
            at = min(start + header.stored_bytes, file.size)
            continue
        yield FoundFrame(at, header, payload)
        at = start + header.stored_bytes


def _next_header(file: RandomAccess, at: int) -> int:
    """The offset of the next valid frame header, or the end of the file."""
    while at < file.size:
        window = file.read_at(at, _WINDOW + len(frames.MAGIC) - 1)
        found = window.find(frames.MAGIC)
        if found < 0:
            at += _WINDOW
            continue
        at += found
        try:
            frames.decode_header(file.read_at(at, frames.HEADER_BYTES), file.name)
        except (DamagedError, UnsupportedError):
            at += 1
            continue
        return at
    return file.size


def salvage(file: RandomAccess) -> ArchiveReader:
    """A reader over what is whole in a damaged or unfinished archive.

    Raises DamagedError if not even that is possible: the header is gone.
    """
    header: ArchiveHeader | None = None
    entries: list[MailboxEntry] = []
    data: list[int] = []
    blocks: list[int] = []
    index: list[int] = []
    messages: list[int] = []
    data_bytes = 0
    for found in scan(file):
        if isinstance(found, Gap):
            continue
        kind = found.header.type
        if kind is FrameType.BLOCK:
            # A damaged block keeps its place in the table: reading it will tell of the damage.
            if found.header.position >= data_bytes and found.header.plain_bytes:
                data.append(found.header.position)
                blocks.append(found.at)
                data_bytes = found.header.position + found.header.plain_bytes
        elif kind is FrameType.MESSAGES:
            messages.append(found.at)
        elif kind is FrameType.INDEX and found.damage is None:
            index.append(found.at)
        elif kind is FrameType.MAILBOX:
            if found.damage is None:
                entries.append(_entry(found, messages))
            messages = []
        elif kind is FrameType.HEADER and header is None and found.damage is None:
            header = contents.decode_header(found.payload)
    if header is None:
        raise DamagedError(f"{file.name}: the header of the archive is gone", reason="no-header")
    if data and data[0] != 0:
        # The table must begin at 0; a missing first block then reads as a damaged one.
        data.insert(0, 0)
        blocks.insert(0, 0)
    directory = ArchiveDirectory(
        mailboxes=tuple(entries),
        blocks=BlockTable(data=data, file=blocks),
        data_bytes=data_bytes,
        index_frames=tuple(index),
    )
    return ArchiveReader(file, header, directory)


def _entry(found: FoundFrame, messages: list[int]) -> MailboxEntry:
    mailbox = mailboxes.decode(found.payload)
    return MailboxEntry(
        user=mailbox.user,
        frame=found.at,
        message_frames=tuple(messages),
        folders=len(mailbox.folders),
        listed=mailbox.listed,
        stored=mailbox.stored,
        size_bytes=mailbox.size_bytes,
    )
