"""A reader over an archive that has no valid end, or is damaged anywhere.

What the frames before the end say replaces the directory. FORMAT.md, "Salvage".
"""

from __future__ import annotations

from array import array

from ..errors import DamagedError
from ..keys.records import NO_KEYS, Keyring
from ..records import ArchiveId, Losses, Referred, Skipped, Stretch
from ..structs import Mutable, field
from . import contents, directory, frames, mailboxes
from .codec import FrameCodec
from .contents import ArchiveDirectory, ArchiveHeader, MailboxEntry
from .directory import DirectoryFrame
from .files import RandomAccess
from .frames import FrameType
from .mailboxes import MailboxHead
from .places import GONE, BlockTable, FramePlace, MailboxPlace, MessagesPlace
from .pointers import LOW, MailboxPointer
from .reader import ArchiveReader, open_sealed
from .scanning import FoundFrame, damage_of, owner_of, scan
from .slots import codec_for, slots_anywhere


def salvage(file: RandomAccess, keys: Keyring = NO_KEYS) -> ArchiveReader:
    """A reader over what is whole in a damaged or unfinished archive; its ``damage`` tells what is not.

    Raises DamagedError if not even that is possible, because both places that say whose archive it is are
    gone, UnsupportedError if a newer version wrote it, EncryptedError if there is no structure key for it.
    """
    owner = owner_of(file)
    codec = codec_for(owner, slots_anywhere(file, owner), keys)
    work = _Salvage(file, codec)
    try:
        open_sealed(file, keys=keys)
    except DamagedError as error:
        work.damage.append(Skipped(file.name, "archive", error.message))
    for found in scan(file, codec=codec):
        damage = damage_of(file, found)
        if damage is not None:
            work.damage.append(damage)
        if isinstance(found, FoundFrame):
            work.take(found)
    return work.reader()


class _Blocks(Mutable):
    """The blocks found, in the order of the file."""

    data: array[int] = field(default_factory=lambda: array("Q"))
    size: array[int] = field(default_factory=lambda: array("Q"))
    file: array[int] = field(default_factory=lambda: array("Q"))
    frame: array[int] = field(default_factory=lambda: array("I"))
    damaged: bytearray = field(default_factory=bytearray)
    data_bytes: int = 0
    """Where the data ends, if that is known."""

    def add(self, found: FoundFrame) -> None:
        if found.header.plain_bytes and found.header.position <= contents.LAST - found.header.plain_bytes:
            self.data.append(found.header.position)
            self.size.append(found.header.plain_bytes)
            self.file.append(found.at)
            self.frame.append(_place(found).size_bytes)
            # A damaged block keeps its place in the table: reading it will tell of the damage.
            self.damaged.append(found.damage is not None)

    def table(self) -> tuple[BlockTable, tuple[Stretch, ...], int]:
        """The table of blocks without overlaps, what no block holds, and where the data ends."""
        data, file, frame = array("Q"), array("Q"), array("I")
        holes: list[Stretch] = []
        end = 0
        for i in sorted(range(len(self.data)), key=lambda i: (self.data[i], self.damaged[i])):
            if self.data[i] < end:
                continue
            if self.data[i] > end:
                holes.append(Stretch(end, self.data[i] - end))
            data.append(self.data[i])
            file.append(self.file[i])
            frame.append(self.frame[i])
            end = self.data[i] + self.size[i]
        if self.data_bytes > end:
            holes.append(Stretch(end, self.data_bytes - end))
            end = self.data_bytes
        return BlockTable(data=data, file=file, size=frame), tuple(holes), end


class _Salvage:
    """What was found so far."""

    def __init__(self, file: RandomAccess, codec: FrameCodec) -> None:
        self._file = file
        self._codec = codec
        self._header: ArchiveHeader | None = None
        self._blocks = _Blocks()
        self._index: list[int] = []
        self._frames: dict[int, _MailboxFrames] = {}
        self._unchanged: dict[str, MailboxEntry] = {}
        self._departed: dict[int, list[int]] = {}
        self._unopened: tuple[Skipped, ...] = ()
        self._lost = Losses()
        self._referred: dict[ArchiveId, Referred] = {}
        self._has_end = False
        self._frames_left = file.size // frames.HEADER_BYTES
        # Each row stands in a directory, and those of mailboxes that are written elsewhere before it, too.
        self._rows_left = 2 * directory.most_plain_bytes(file.size)
        self.damage: list[Skipped] = []

    def take(self, found: FoundFrame) -> None:
        kind, position = found.header.type, found.header.position
        if found.locked and kind not in (FrameType.BLOCK, FrameType.SEARCH):
            if not self._codec.owner_of(found.header.slot):
                raise self._codec.lacks_key(found.header, f"{self._file.name} at {found.at}")
            if kind is FrameType.MAILBOX and found.damage is None:
                self._of(position).take_locked(found)
        if kind is FrameType.BLOCK:
            self._blocks.add(found)
        elif kind is FrameType.MESSAGES:
            known = self._of(position).messages
            if found.damage is None or position & LOW not in known:
                known[position & LOW] = MessagesPlace(*_place(found), 0)
        elif kind is FrameType.SEARCH:
            known = self._of(position).messages
            before = known.get(position & LOW)
            if before is not None and before.at + before.size_bytes == found.at:
                known[position & LOW] = before._replace(search_bytes=_place(found).size_bytes)
        elif found.damage is None and not (found.locked and kind is FrameType.MAILBOX):
            try:
                self._take_whole(found)
            except DamagedError as error:
                self.damage.append(Skipped(f"{self._file.name} at {found.at}", "frame", error.message))

    def _of(self, position: int) -> _MailboxFrames:
        return self._frames.setdefault(position >> 32, _MailboxFrames())

    def _take_whole(self, found: FoundFrame) -> None:
        kind = found.header.type
        if kind in (FrameType.UNCHANGED, FrameType.DIRECTORY):
            self._rows_left -= found.header.plain_bytes
            if self._rows_left < 0:
                raise DamagedError("more is told of mailboxes than a directory can hold", reason="length")
        if kind is FrameType.INDEX:
            self._index.append(found.at)
        elif kind is FrameType.FOLDERS:
            parts = self._of(found.header.position).parts
            parts.setdefault(found.header.position & LOW, []).append(_place(found))
        elif kind is FrameType.MAILBOX:
            self._mailbox(found)
        elif kind is FrameType.UNCHANGED:
            self._take_unchanged(directory.decode_unchanged(found.payload), found.header.archive)
        elif kind is FrameType.DEPARTED:
            self._departed.setdefault(found.header.position, []).append(found.at)
        elif kind is FrameType.HEADER:
            self._say_header(found, found.payload)
        elif kind is FrameType.DIRECTORY:
            self._directory(found, directory.decode(found.payload))

    def _take_unchanged(self, entries: tuple[MailboxEntry, ...], own: ArchiveId) -> None:
        self._unchanged.update((entry.user, entry) for entry in entries if entry.home.archive != own)

    def _directory(self, found: FoundFrame, decoded: DirectoryFrame) -> None:
        """What only the directory tells: where the frames lie was seen."""
        part = decoded.part
        self._take_unchanged(part.mailboxes, found.header.archive)
        unopened = self._unopened + part.unopened
        if len(unopened) > directory.MOST_UNOPENED:
            raise DamagedError("too many mailboxes are named as unopened", reason="metadata")
        self._unopened = unopened
        self._blocks.data_bytes = max(self._blocks.data_bytes, part.data_bytes)
        self._lost = part.lost or self._lost
        if part.seal is not None:
            self._codec.limit(part.seal.used)
        self._referred.update((referred.archive, referred) for referred in part.referred)
        if decoded.header:
            self._has_end = True
            self._say_header(found, decoded.header)

    def _say_header(self, found: FoundFrame, payload: bytes) -> None:
        header = contents.decode_header(payload)
        if header.archive != found.header.archive:
            raise DamagedError("the header tells of another archive", reason="metadata")
        self._header = self._header or header

    def _mailbox(self, found: FoundFrame) -> None:
        count, own = found.header.position & LOW, self._of(found.header.position)
        if own.head is None:
            head = mailboxes.decode_head(found.payload)
            # As many frames as it names must have had room in the file.
            self._frames_left -= count
            if self._frames_left < 0:
                raise DamagedError("a mailbox names more frames than there are", reason="metadata")
            own.head, own.count = head, count
        if own.count == count:
            own.copies.append(_place(found))

    def reader(self) -> ArchiveReader:
        if self._header is None:
            raise DamagedError(f"{self._file.name}: the header of the archive is gone", reason="no-header")
        archive = self._header.archive
        entries: dict[str, MailboxEntry] = dict(self._unchanged)
        places: list[MailboxPlace] = []
        for number, own in sorted(self._frames.items()):
            place = own.place(number, self._frames_left)
            self._frames_left -= 0 if own.head is not None else len(place.messages)
            places.append(place)
            if own.head is not None:
                entries[own.head.user] = mailboxes.entry_of(own.head, MailboxPointer(archive, number))
            elif own.messages and not own.locked:
                self.damage.append(
                    Skipped(self._file.name, "mailbox", f"the metadata of mailbox {number} is gone")
                )
        table, holes, data_bytes = self._blocks.table()
        whole = ArchiveDirectory(
            mailboxes=tuple(entries.values()),
            places=tuple(places),
            blocks=table,
            data_bytes=data_bytes,
            index_frames=tuple(self._index),
            departed_frames=tuple(tuple(self._departed[part]) for part in sorted(self._departed)),
            unopened=self._unopened,
            holes=holes,
            lost=self._lost,
            referred=tuple(self._referred.values()),
        )
        return ArchiveReader(
            self._file,
            self._header,
            whole,
            tuple(self.damage),
            cut=not self._has_end,
            codec=self._codec,
        )


class _MailboxFrames(Mutable):
    """The frames found of a mailbox. Its MAILBOX frame tells of ``count`` MESSAGES frames. ``locked``: it is
    there, and its secret is not at hand."""

    head: MailboxHead | None = None
    count: int = 0
    copies: list[FramePlace] = field(default_factory=list)
    parts: dict[int, list[FramePlace]] = field(default_factory=dict)
    messages: dict[int, MessagesPlace] = field(default_factory=dict)
    locked: bool = False

    def take_locked(self, found: FoundFrame) -> None:
        """A MAILBOX frame that can't be read here."""
        self.locked = True
        self.count = found.header.position & LOW
        self.copies.append(_place(found))

    def place(self, number: int, most: int) -> MailboxPlace:
        """Where they lie. Others may refer to its messages also where its MAILBOX frame is gone: to at most
        so many, since numbers that the file has no room for are no writer's."""
        count, parts = self.count, self.head.parts if self.head is not None else len(self.parts)
        if self.head is None:
            count = self.count if self.locked else max(self.messages, default=-1) + 1
            count = count if count <= most else 0
        return MailboxPlace(
            number=number,
            frames=tuple(self.copies),
            parts=tuple(tuple(self.parts.get(part, ())) for part in range(parts)),
            messages=tuple(self.messages.get(one, GONE) for one in range(count)),
        )


def _place(found: FoundFrame) -> FramePlace:
    return FramePlace(found.at, frames.HEADER_BYTES + found.header.stored_bytes)
