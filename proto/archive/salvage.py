"""A reader over an archive that has no valid end, or is damaged anywhere.

What the frames before the end say replaces the directory. FORMAT.md, "Salvage".
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace

from ..errors import DamagedError
from ..records import Departed, Losses, Skipped, Stretch
from . import contents, directory, frames, mailboxes
from .contents import LOST, ArchiveDirectory, ArchiveHeader, BlockTable, MailboxEntry
from .directory import DirectoryFrame
from .files import RandomAccess
from .frames import FrameType
from .mailboxes import Mailbox
from .reader import ArchiveReader, open_sealed
from .scanning import FoundFrame, damage_of, scan


def salvage(file: RandomAccess) -> ArchiveReader:
    """A reader over what is whole in a damaged or unfinished archive; its ``damage`` tells what is not.

    Raises DamagedError if not even that is possible, because both places that say whose archive it is are
    gone, and UnsupportedError if a newer version wrote it.
    """
    work = _Salvage(file)
    try:
        open_sealed(file)
    except DamagedError as error:
        work.damage.append(Skipped(file.name, "archive", error.message))
    for found in scan(file):
        damage = damage_of(file, found)
        if damage is not None:
            work.damage.append(damage)
        if isinstance(found, FoundFrame):
            work.take(found)
    return work.reader()


@dataclass(slots=True)
class _Blocks:
    """The blocks found, in the order of the file."""

    data: array[int] = field(default_factory=lambda: array("Q"))
    size: array[int] = field(default_factory=lambda: array("Q"))
    file: array[int] = field(default_factory=lambda: array("Q"))
    damaged: bytearray = field(default_factory=bytearray)
    data_bytes: int = 0
    """Where the data ends, if that is known."""

    def add(self, found: FoundFrame) -> None:
        if found.header.plain_bytes and found.header.position < 1 << 62:
            self.data.append(found.header.position)
            self.size.append(found.header.plain_bytes)
            self.file.append(found.at)
            # A damaged block keeps its place in the table: reading it will tell of the damage.
            self.damaged.append(found.damage is not None)

    def table(self) -> tuple[BlockTable, tuple[Stretch, ...], int]:
        """The table of blocks without overlaps, what no block holds, and where the data ends."""
        data, file = array("Q"), array("Q")
        holes: list[Stretch] = []
        end = 0
        for i in sorted(range(len(self.data)), key=lambda i: (self.data[i], self.damaged[i])):
            if self.data[i] < end:
                continue
            if self.data[i] > end:
                holes.append(Stretch(end, self.data[i] - end))
            data.append(self.data[i])
            file.append(self.file[i])
            end = self.data[i] + self.size[i]
        if self.data_bytes > end:
            holes.append(Stretch(end, self.data_bytes - end))
            end = self.data_bytes
        return BlockTable(data=data, file=file), tuple(holes), end


class _Salvage:
    """What was found so far."""

    def __init__(self, file: RandomAccess) -> None:
        self._file = file
        self._header: ArchiveHeader | None = None
        self._blocks = _Blocks()
        self._index: list[int] = []
        self._messages: dict[int, dict[int, int]] = {}
        self._mailboxes: dict[int, MailboxEntry] = {}
        self._departed: tuple[Departed, ...] = ()
        self._unopened: tuple[Skipped, ...] = ()
        self._lost = Losses()
        self._has_end = False
        self._frames_left = file.size // frames.HEADER_BYTES
        self.damage: list[Skipped] = []

    def take(self, found: FoundFrame) -> None:
        kind, position = found.header.type, found.header.position
        if kind is FrameType.BLOCK:
            self._blocks.add(found)
        elif kind is FrameType.MESSAGES:
            known = self._messages.setdefault(position >> 32, {})
            if found.damage is None or position & _LOW not in known:
                known[position & _LOW] = found.at
        elif found.damage is None:
            try:
                self._take_whole(found)
            except DamagedError as error:
                self.damage.append(Skipped(f"{self._file.name} at {found.at}", "frame", error.message))

    def _take_whole(self, found: FoundFrame) -> None:
        kind = found.header.type
        if kind is FrameType.INDEX:
            self._index.append(found.at)
        elif kind is FrameType.MAILBOX and found.header.position >> 32 not in self._mailboxes:
            self._mailbox(found, mailboxes.decode(found.payload))
        elif kind is FrameType.HEADER:
            self._say_header(found, found.payload)
        elif kind is FrameType.DIRECTORY:
            self._directory(found, directory.decode(found.payload))

    def _directory(self, found: FoundFrame, decoded: DirectoryFrame) -> None:
        """What only the directory tells: where the frames lie was seen."""
        part = decoded.part
        departed, unopened = self._departed + part.departed, self._unopened + part.unopened
        if len(departed) + len(unopened) > directory.MOST_GONE:
            raise DamagedError("too many mailboxes are named as gone", reason="metadata")
        self._departed, self._unopened = departed, unopened
        self._blocks.data_bytes = max(self._blocks.data_bytes, part.data_bytes)
        self._lost = part.lost or self._lost
        if decoded.header:
            self._has_end = True
            self._say_header(found, decoded.header)

    def _say_header(self, found: FoundFrame, payload: bytes) -> None:
        header = contents.decode_header(payload)
        if header.archive != found.header.archive:
            raise DamagedError("the header tells of another archive", reason="metadata")
        self._header = self._header or header

    def _mailbox(self, found: FoundFrame, mailbox: Mailbox) -> None:
        number, count = found.header.position >> 32, found.header.position & _LOW
        # As many frames as it names must have had room in the file.
        self._frames_left -= count
        if self._frames_left < 0:
            raise DamagedError("a mailbox names more frames than there are", reason="metadata")
        entry = mailboxes.entry_of(mailbox, number, (found.at,), found.header.archive)
        self._mailboxes[number] = replace(entry, message_frames=(LOST,) * count)

    def reader(self) -> ArchiveReader:
        if self._header is None:
            raise DamagedError(f"{self._file.name}: the header of the archive is gone", reason="no-header")
        for number in sorted(self._messages.keys() - self._mailboxes.keys()):
            self.damage.append(
                Skipped(self._file.name, "mailbox", f"the metadata of mailbox {number} is gone")
            )
        table, holes, data_bytes = self._blocks.table()
        whole = ArchiveDirectory(
            mailboxes=tuple(
                self._with_messages(self._mailboxes[number]) for number in sorted(self._mailboxes)
            ),
            blocks=table,
            data_bytes=data_bytes,
            index_frames=tuple(self._index),
            departed=self._departed,
            unopened=self._unopened,
            holes=holes,
            lost=self._lost,
        )
        return ArchiveReader(self._file, self._header, whole, tuple(self.damage), cut=not self._has_end)

    def _with_messages(self, entry: MailboxEntry) -> MailboxEntry:
        known = self._messages.get(entry.number, {})
        found = tuple(known.get(number, LOST) for number in range(len(entry.message_frames)))
        return replace(entry, message_frames=found)


_LOW = (1 << 32) - 1
