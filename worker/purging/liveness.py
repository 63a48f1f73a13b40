"""What of archives is still needed: found by reading the metadata that is, each frame of it once.

Metadata that is copied from archive to archive stays the same bytes: a frame whose checksum was met before
refers to nothing new, and only its header is read.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from ...proto.archive import mailboxes
from ...proto.archive.contents import LOST, MailboxEntry
from ...proto.archive.extents import extents, of_pieces
from ...proto.archive.frames import HEADER_BYTES, FrameHeader, FrameType, decode_header
from ...proto.archive.reader import ArchiveReader, open_sealed
from ...proto.errors import DamagedError, UnsupportedError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Progress
from ..archives import ArchivePlace, open_place
from .bounds import Stretches, pairs, widened

CLOSE_BYTES = 512
"""A gap between two stretches that is smaller than this is not worth a block of its own behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededArchive:
    """An archive whose metadata of some users is needed; ``references`` are the others that it refers to."""

    archive: ArchiveId
    place: ArchivePlace
    users: frozenset[str]
    references: tuple[ArchiveId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveData:
    """What some metadata needs: by archive the bounds of the stretches of its data, as bytes of 64-bit
    integers; and archives of which all may be needed, since metadata that may refer to them can't be read."""

    stretches: Mapping[ArchiveId, bytes] = field(default_factory=dict)
    untouchable: frozenset[ArchiveId] = frozenset()


def live_data(needed: tuple[NeededArchive, ...], progress: ProgressSink, label: str = "") -> LiveData:
    """What the metadata of these archives refers to. Never fails because of one that is damaged."""
    work = _Search()
    done_bytes = 0
    for one in needed:
        try:
            file = open_place(one.place)
        except DamagedError:
            work.untouchable.update((one.archive, *one.references))
            continue
        try:
            work.archive(one, open_sealed(file))
        except (DamagedError, UnsupportedError):
            work.untouchable.update((one.archive, *one.references))
        finally:
            done_bytes += file.size
            file.close()
        progress(Progress(label, 0, done_bytes))
    return LiveData(
        stretches={archive: found.take().tobytes() for archive, found in work.found.items()},
        untouchable=frozenset(work.untouchable),
    )


class _Search:
    def __init__(self) -> None:
        self.found: dict[ArchiveId, Stretches] = {}
        self.untouchable: set[ArchiveId] = set()
        self._seen: set[bytes] = set()

    def archive(self, needed: NeededArchive, reader: ArchiveReader) -> None:
        for entry in reader.directory.mailboxes:
            if entry.user not in needed.users:
                continue
            try:
                self._files(reader, entry)
                for at in entry.message_frames:
                    if at != LOST:
                        self._messages(reader, at)
            except DamagedError:
                self.untouchable.update((needed.archive, *entry.archives))

    def _messages(self, reader: ArchiveReader, at: int) -> None:
        checksum = _header(reader, at).checksum
        if checksum not in self._seen:
            self._add(extents(reader.frame(at, FrameType.MESSAGES)[1]))
            self._seen.add(checksum)

    def _files(self, reader: ArchiveReader, entry: MailboxEntry) -> None:
        *first, last = entry.frames
        for at in first:
            try:
                return self._files_at(reader, at)
            except DamagedError:
                continue
        return self._files_at(reader, last)

    def _files_at(self, reader: ArchiveReader, at: int) -> None:
        checksum = _header(reader, at).checksum
        if checksum not in self._seen:
            for file in mailboxes.decode(reader.frame(at, FrameType.MAILBOX)[1]).files:
                self._add(of_pieces(file.pieces))
            self._seen.add(checksum)

    def _add(self, found: Mapping[ArchiveId, array[int]]) -> None:
        for archive, bounds in found.items():
            self.found.setdefault(archive, Stretches()).add(bounds)


def _header(reader: ArchiveReader, at: int) -> FrameHeader:
    where = f"{reader.file.name} at {at}"
    return decode_header(reader.file.read_at(at, HEADER_BYTES), where, reader.header.archive)


@dataclass(frozen=True, slots=True)
class Shares:
    """What of a file is alive: ``live_bytes`` as it is stored, of ``size_bytes``."""

    live_bytes: int
    size_bytes: int


def shares(reader: ArchiveReader, live: array[int], users: frozenset[str]) -> Shares:
    """How much of a whole archive is alive, if these stretches of its data are, and the metadata of these
    users. Of a block of which a part is alive, so is that part of what it takes in the file.

    What is neither data nor metadata of mailboxes shrinks with them, and is left out of account; so of an
    archive that was written anew with just this, next to nothing is dead.
    """
    sizes = dict(_frame_sizes(reader))
    data_bytes = live_data_bytes = 0.0
    bounds = pairs(widened(live, CLOSE_BYTES))
    begin, end = next(bounds, (0, 0))
    for start, stop, at in _blocks(reader):
        alive = 0
        while end and begin < stop:
            alive += max(0, min(end, stop) - max(begin, start))
            if end > stop:
                break
            begin, end = next(bounds, (0, 0))
        data_bytes += sizes[at]
        live_data_bytes += sizes[at] * alive / (stop - start)
    metadata_bytes = live_metadata_bytes = 0
    for entry in reader.directory.mailboxes:
        taken = sum(sizes[at] for at in (*entry.frames, *entry.message_frames) if at != LOST)
        metadata_bytes += taken
        live_metadata_bytes += taken if entry.user in users else 0
    return Shares(int(live_data_bytes) + live_metadata_bytes, int(data_bytes) + metadata_bytes)


def _blocks(reader: ArchiveReader) -> Iterator[tuple[int, int, int]]:
    """Of each block that is there: where its data begins and ends, and where it lies in the file."""
    table = reader.directory.blocks
    for number, (start, at) in enumerate(zip(table.data, table.file, strict=True)):
        if at != LOST:
            yield start, reader.directory.block_end(number), at


def _frame_sizes(reader: ArchiveReader) -> Iterator[tuple[int, int]]:
    """By offset in the file, what each frame of data or metadata takes there. Nothing is read but the header
    of the last one: frames lie without gaps, and a frame that no directory names (SEARCH) belongs to the one
    before it."""
    directory = reader.directory
    offsets = {*directory.blocks.file, *directory.index_frames}
    for entry in directory.mailboxes:
        offsets.update(entry.frames, entry.message_frames)
    offsets.discard(LOST)
    ordered = sorted(offsets)
    for at, following in pairwise(ordered):
        yield at, following - at
    if ordered:
        yield ordered[-1], HEADER_BYTES + _header(reader, ordered[-1]).stored_bytes
