"""What of archives is still needed: found by reading the metadata that is, each frame of it once.

Versions of a mailbox refer to the same frames, in whichever archives these lie: a pointer that was met before
refers to nothing new.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping

from ...proto.archive.contents import MailboxEntry
from ...proto.archive.extents import extents, of_pieces
from ...proto.archive.frames import mailbox_position
from ...proto.archive.places import GONE
from ...proto.archive.pointers import FramePointer, MailboxPointer
from ...proto.archive.reader import ArchiveReader
from ...proto.archive.rewriting import Metadata
from ...proto.archive.stored import OpenArchive, read_mailbox
from ...proto.errors import DamagedError, EncryptedError, ErasedError, UnsupportedError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Departed, Progress, Skipped
from ...proto.structs import Record, field
from .bounds import Stretches, merged, pairs, widened

CLOSE_BYTES = 512
"""A gap between two stretches that is smaller than this is not worth a block of its own behind it."""


IsTold = Callable[[Departed | Skipped], bool]
"""Whether an archive is to tell of who has departed or could not be opened."""


class NeededArchive(Record, kw_only=True):
    """An archive that is needed to tell of the mailboxes of some users; ``references`` are the others that it
    refers to."""

    archive: ArchiveId
    users: frozenset[str]
    references: tuple[ArchiveId, ...] = ()


class LiveData(Record, kw_only=True):
    """What some mailboxes need, by archive: the bounds of the stretches of its data, as bytes of 64-bit
    integers; the ``mailboxes`` that are written in it, by number; the ``frames`` of messages, by position.
    And archives of which all may be needed, since metadata that may refer to them can't be read."""

    stretches: Mapping[ArchiveId, bytes] = field(default_factory=dict)
    mailboxes: Mapping[ArchiveId, frozenset[int]] = field(default_factory=dict)
    frames: Mapping[ArchiveId, frozenset[int]] = field(default_factory=dict)
    untouchable: frozenset[ArchiveId] = frozenset()

    def needs(self, archive: ArchiveId) -> bool:
        """Whether anything of an archive is needed, or may be."""
        those = self.stretches, self.mailboxes, self.frames, self.untouchable
        return any(archive in one for one in those)


def live_data(
    needed: tuple[NeededArchive, ...], open_archive: OpenArchive, progress: ProgressSink, label: str = ""
) -> LiveData:
    """What the mailboxes need of which these archives tell. Never fails because of one that is damaged."""
    work = _Search(open_archive)
    for number, needed_archive in enumerate(needed):
        try:
            work.archive(needed_archive, open_archive(needed_archive.archive))
        except (DamagedError, UnsupportedError):
            work.untouchable.update((needed_archive.archive, *needed_archive.references))
        progress(Progress(label, number, 0))
    return LiveData(
        stretches={archive: found.take().tobytes() for archive, found in work.found.items()},
        mailboxes=_by_archive((mailbox.archive, mailbox.number) for mailbox in work.mailboxes),
        frames=_by_archive((frame.archive, frame.position) for frame in work.frames),
        untouchable=frozenset(work.untouchable),
    )


def _by_archive(those: Iterator[tuple[ArchiveId, int]]) -> dict[ArchiveId, frozenset[int]]:
    found: dict[ArchiveId, set[int]] = {}
    for archive, number in those:
        found.setdefault(archive, set()).add(number)
    return {archive: frozenset(numbers) for archive, numbers in found.items()}


class _Search:
    def __init__(self, open_archive: OpenArchive) -> None:
        self.found: dict[ArchiveId, Stretches] = {}
        self.mailboxes: set[MailboxPointer] = set()
        self.frames: set[FramePointer] = set()
        self.untouchable: set[ArchiveId] = set()
        self._open_archive = open_archive
        self._payload: tuple[tuple[ArchiveId, int] | None, bytes] = (None, b"")

    def archive(self, needed: NeededArchive, reader: ArchiveReader) -> None:
        """Follow what an archive tells of. Where it is not whole, it may have told of more."""
        if reader.damage:
            self.untouchable.update((needed.archive, *needed.references))
        for entry in reader.directory.mailboxes:
            if entry.user in needed.users and entry.home not in self.mailboxes:
                self.mailboxes.add(entry.home)
                self._mailbox(entry)

    def _mailbox(self, entry: MailboxEntry) -> None:
        try:
            mailbox = read_mailbox(self._open_archive, entry)
        except ErasedError:
            return  # what says that it is there stays, as long as the catalog does; nobody will ever read it
        except (DamagedError, UnsupportedError, EncryptedError):
            self.untouchable.update((entry.home.archive, *entry.archives))
            return
        for file in mailbox.files:
            self._add(of_pieces(file.pieces))
        for folder in mailbox.folders:
            for pointer in folder.frames:
                if pointer not in self.frames:
                    self.frames.add(pointer)
                    self._messages(pointer)

    def _messages(self, pointer: FramePointer) -> None:
        key = pointer.archive, pointer.position
        try:
            if self._payload[0] != key:
                self._payload = key, self._open_archive(pointer.archive).message_frame(pointer.position)
            self._add(extents(self._payload[1], (pointer.first, pointer.messages)))
        except (DamagedError, UnsupportedError, EncryptedError):
            self.untouchable.update(pointer.archives)

    def _add(self, found: Mapping[ArchiveId, array[int]]) -> None:
        for archive, bounds in found.items():
            self.found.setdefault(archive, Stretches()).add(bounds)


class Shares(Record):
    """What of a file is alive: ``live_bytes`` as it is stored, of ``size_bytes``."""

    live_bytes: int
    size_bytes: int


def shares(reader: ArchiveReader, live: array[int], metadata: Metadata) -> Shares:
    """How much of a whole archive is alive, if these stretches of its data are, and this metadata. Of a block
    of which a part is alive, so is that part of what it takes in the file.

    What is neither data nor metadata of mailboxes shrinks with them, and is left out of account; so of an
    archive that was written anew with just this, next to nothing is dead.
    """
    data_bytes = live_data_bytes = 0.0
    for size, plain, alive in _blocks(reader, widened(live, CLOSE_BYTES)):
        data_bytes += size
        live_data_bytes += size * alive / plain
    metadata_bytes = live_metadata_bytes = 0
    told = {mailbox.home for mailbox in reader.directory.mailboxes if mailbox.user in metadata.users}
    for place in reader.directory.places:
        own = sum(frame_place.size_bytes for frame_place in place.metadata)
        needed = place.number in metadata.mailboxes or (reader.header.archive, place.number) in told
        metadata_bytes += own
        live_metadata_bytes += own if needed else 0
        for number, messages_place in enumerate(place.messages):
            size = messages_place.size_bytes + messages_place.search_bytes
            metadata_bytes += size
            live_metadata_bytes += size if mailbox_position(place.number, number) in metadata.frames else 0
    return Shares(int(live_data_bytes) + live_metadata_bytes, int(data_bytes) + metadata_bytes)


def _blocks(reader: ArchiveReader, live: array[int]) -> Iterator[tuple[int, int, int]]:
    """Of each block: the bytes that it takes in the file, those of its data, and how many of these lie in
    the stretches that are ``live``."""
    table = reader.directory.blocks
    bounds = pairs(live)
    begin, end = next(bounds, (0, 0))
    for number, (start, size) in enumerate(zip(table.data, table.size, strict=True)):
        stop, alive = reader.directory.block_end(number), 0
        while end and begin < stop:
            alive += max(0, min(end, stop) - max(begin, start))
            if end > stop:
                break
            begin, end = next(bounds, (0, 0))
        yield size, stop - start, alive


class Dead(Record, kw_only=True):
    """What of an archive nobody needs: so many bytes of its data, and whether it has or names anything else
    that goes. ``mixed``: some of its blocks hold both, so that its content key is needed to part them."""

    data_bytes: int = 0
    metadata: bool = False
    mixed: bool = False

    def __bool__(self) -> bool:
        return bool(self.data_bytes) or self.metadata


def dead(reader: ArchiveReader, live: array[int], metadata: Metadata, is_told: IsTold) -> Dead:
    """What is dead of an archive, to the byte, if these stretches of its data are alive, and this metadata;
    of those that have departed, or could not be opened, what is to be told. Raises DamagedError."""
    data_bytes, mixed = 0, False
    for _, plain, alive in _blocks(reader, merged(live)):
        data_bytes += plain - alive
        mixed = mixed or 0 < alive < plain
    return Dead(
        data_bytes=data_bytes,
        mixed=mixed,
        metadata=_has_dead_metadata(reader, metadata)
        or not all(map(is_told, reader.departures()))
        or not all(map(is_told, reader.directory.unopened)),
    )


def _has_dead_metadata(reader: ArchiveReader, metadata: Metadata) -> bool:
    own = reader.header.archive
    told = {mailbox.home for mailbox in reader.directory.mailboxes if mailbox.user in metadata.users}
    if len(told) < len({entry.home for entry in reader.directory.mailboxes}):
        return True
    for place in reader.directory.places:
        needed = place.number in metadata.mailboxes or MailboxPointer(own, place.number) in told
        if (place.frames or place.parts) and not needed:
            return True
        for number, messages_place in enumerate(place.messages):
            if messages_place != GONE and mailbox_position(place.number, number) not in metadata.frames:
                return True
    return False
