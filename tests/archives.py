"""Archives in memory, for the tests of the format: written by the real writer, read by the real reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgpack

from mailhaul.proto.archive import columns, contents, frames, search
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.contents import ArchiveHeader, MailboxEntry
from mailhaul.proto.archive.draft import Draft, Unfinished, read_draft
from mailhaul.proto.archive.files import RandomAccess
from mailhaul.proto.archive.frames import Codec, FrameHeader, FrameType, mailbox_position
from mailhaul.proto.archive.mailboxes import FolderEntry
from mailhaul.proto.archive.places import MailboxPlace
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.rewriting import Metadata
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.scanning import FoundFrame, scan
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.keys.records import Sealing
from mailhaul.proto.ports import ArchiveSink
from mailhaul.proto.records import (
    ArchiveId,
    FileStat,
    Folder,
    Listed,
    Location,
    Message,
    Ownership,
    RunId,
    Terms,
)
from mailhaul.proto.structs import Record, replace
from mailhaul.worker.archives.holdings import NAMED_FILES, Holdings, NamedFiles, Stretched
from mailhaul.worker.packing.packer import Packer

ARCHIVE = ArchiveId(bytes(range(16)))
OWNER = Ownership(0o600, 1000, 1000)
ARRIVED_NS = 1_785_542_400_000_000_000

Mailboxes = Mapping[str, Mapping[str, Iterable[bytes]]]
"""User -> folder -> messages."""


def in_files(files: Mapping[ArchiveId, str | Path]) -> Holdings:
    """Archives, each in a file of its own."""
    numbered = enumerate(files)
    return Holdings(
        locations={archive: (Location(NAMED_FILES, str(number)),) for number, archive in numbered},
        places=(NamedFiles(files=tuple(Stretched(path=str(path)) for path in files.values())),),
    )


def taken_up(sink: ArchiveSink) -> Unfinished | None:
    """Begin to write; what an earlier attempt left there, opened."""
    draft = sink.begin()
    return draft.over(sink.written) if draft else None


def unfinished_in(data: bytes) -> Unfinished | None:
    """What the draft is that a file begins with, opened."""
    draft = read_draft(MemoryFile(data))
    return draft.over(MemoryFile(data)) if draft else None


class MemorySink:
    """An ArchiveSink that keeps what it is given, behind what an earlier attempt ``left``."""

    def __init__(self, left: bytes = b"") -> None:
        self.data = bytearray(left)
        self.checkpoints: list[int] = []

    def begin(self) -> Draft | None:
        draft = read_draft(MemoryFile(bytes(self.data)))
        del self.data[draft.size_bytes if draft else 0 :]
        return draft

    @property
    def written(self) -> RandomAccess:
        return MemoryFile(bytes(self.data))

    def restart(self) -> None:
        self.data.clear()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    def checkpoint(self) -> None:
        self.checkpoints.append(len(self.data))

    def seal(self) -> str:
        return "memory"

    def abort(self) -> None: ...


class MemoryFile:
    """A RandomAccess over bytes. Reading any of the offsets in ``broken`` fails as a bad disk does."""

    def __init__(self, data: bytes, broken: range = range(0)) -> None:
        self.name = "memory"
        self.data = bytes(data)
        self.size = len(data)
        self._broken = broken

    def read_at(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        if self._broken and offset < self._broken.stop and end > self._broken.start:
            raise DamagedError("memory: Input/output error", reason="io-error")
        return self.data[offset:end] if offset >= 0 else b""

    def close(self) -> None: ...


class MemoryOpened:
    """An OpenedFile over bytes that says it has ``size`` of them, whatever is true."""

    listed: Listed | None = None

    def __init__(
        self, data: bytes, size: int | None = None, identity: tuple[int, int] | None = None, mtime_ns: int = 0
    ) -> None:
        self.stat = FileStat(len(data) if size is None else size, mtime_ns, OWNER, identity)
        self._data = data
        self._at = 0
        self.reads = 0

    def read(self, size: int) -> bytes:
        data = self._data[self._at : self._at + size]
        self._at += len(data)
        self.reads += 1
        return data

    def close(self) -> None: ...


def archive_header(archive: ArchiveId = ARCHIVE) -> ArchiveHeader:
    """A header with fixed values."""
    return ArchiveHeader(
        archive=archive,
        run=RunId("20260801T000000Z-0001"),
        run_started=1_785_542_400.0,
        host="mail1",
        partition="primary",
        format="maildir",
        group="user",
        shard=0,
        program="mailhaul test",
    )


def message(uid: int, data: bytes, pieces: Any, digest: bytes, **changes: Any) -> Message:
    """A message record for stored data."""
    plain = Message(
        uid=uid,
        base=b"%d.M%dP1.mail1" % (uid, uid),
        suffix=b":2,S",
        place="cur",
        flags="S",
        fields=b"",
        date_ns=ARRIVED_NS + uid,
        owner=OWNER,
        size=len(data),
        digest=digest,
        pieces=pieces,
    )
    return replace(plain, **changes)


def write_mailbox(
    archive: ArchiveWriter, packer: Packer, user: str, folders: Mapping[str, Iterable[bytes]]
) -> None:
    """One mailbox through the packer and the writer, as a backup does it."""
    archive.begin_mailbox(user)
    uid = size_bytes = 0
    for name, messages in folders.items():
        for data in messages:
            uid += 1
            size, digest, pieces = packer.store(MemoryOpened(data))
            archive.add_message(message(uid, data, pieces, digest), Terms(subject=data.partition(b"\n")[0]))
            size_bytes += size
        archive.end_folder(Folder(name=name, path=b"." + name.encode()))
    archive.end_mailbox(user, user.encode(), uid, size_bytes, ())


def write_archive(
    mailboxes: Mailboxes,
    *,
    archive: ArchiveId = ARCHIVE,
    codec: Codec = Codec.LZ4,
    sealing: Sealing | None = None,
) -> bytes:
    """A whole archive, in which each folder has frames of its own."""
    sink = MemorySink()
    with patch("mailhaul.proto.archive.writer._SHARED_MESSAGES", 1):
        # Without a sealing it is that of ``everything_encrypted``, if any.
        begin = ArchiveWriter if sealing is None else partial(ArchiveWriter, sealing=sealing)
        writer = begin(sink, archive_header(archive), codec)
        packer = Packer(writer)
        for user, folders in mailboxes.items():
            write_mailbox(writer, packer, user, folders)
        writer.finish()
    return bytes(sink.data)


def open_any(data: bytes) -> ArchiveReader:
    """As ``worker.archives.opened.open_archive`` does it: the whole archive, else what is whole in it."""
    file = MemoryFile(data)
    try:
        return open_sealed(file)
    except DamagedError:
        return salvage(file)


Found = dict[tuple[str, str], list[bytes]]
"""(user, folder) -> messages."""


def read_archive(reader: ArchiveReader) -> tuple[Found, list[str]]:
    """All that can be read of an archive, and what is said of the rest."""

    def only(archive: ArchiveId) -> ArchiveReader:
        if archive != reader.header.archive:
            raise DamagedError("no such archive", reason="missing")
        return reader

    found: Found = {}
    damage = [skip.detail for skip in reader.damage]
    data = Contents(only)
    for entry in reader.directory.mailboxes:
        try:
            stored = StoredMailbox(only, reader.header.archive, entry.user)
        except DamagedError as error:
            damage.append(error.message)
            continue
        for folder in stored.mailbox.folders:
            messages = found.setdefault((entry.user, folder.folder.name), [])
            try:
                for one in stored.messages(folder):
                    try:
                        messages.append(b"".join(data.message(one)))
                    except DamagedError as error:
                        damage.append(error.message)
            except DamagedError as error:
                damage.append(error.message)
    return found, damage


def messages_of(reader: ArchiveReader, entry: MailboxEntry, folder: FolderEntry) -> Iterator[Message]:
    """The messages of a folder of a mailbox that refers to no other archive."""
    return StoredMailbox(lambda _: reader, reader.header.archive, entry.user).messages(folder)


def position_of(entry: MailboxEntry, number: int) -> int:
    """The position of a MESSAGES frame of a mailbox."""
    return mailbox_position(entry.home.number, number)


def terms_in(reader: ArchiveReader, entry: MailboxEntry, number: int) -> list[Terms]:
    """What the messages of a MESSAGES frame of a mailbox can be found by."""
    found = search.decode(reader.search_frame(position_of(entry, number)))
    if not found:
        raise DamagedError("they were lost", reason="terms")
    return found


def metadata_of(reader: ArchiveReader, users: Collection[str]) -> Metadata:
    """All metadata of some mailboxes that are written in an archive."""
    told = {mailbox.home.number for mailbox in reader.directory.mailboxes if mailbox.user in users}
    frames = {
        mailbox_position(place.number, number)
        for place in reader.directory.places
        for number in range(len(place.messages))
        if place.number in told
    }
    return Metadata(users=users, mailboxes=told, frames=frames)


def place_of(reader: ArchiveReader, entry: MailboxEntry) -> MailboxPlace:
    """Where the frames of a mailbox lie that is written in this archive."""
    return reader.place(entry.home.number)


def replaced(reader: ArchiveReader, place: MailboxPlace) -> ArchiveReader:
    """A reader that finds the frames of a mailbox there."""
    places = tuple(
        place if mailbox_place.number == place.number else mailbox_place
        for mailbox_place in reader.directory.places
    )
    return ArchiveReader(reader.file, reader.header, replace(reader.directory, places=places))


def expected(mailboxes: Mailboxes) -> Found:
    """What ``read_archive`` finds in a whole archive of these mailboxes."""
    return {(user, name): list(data) for user, folders in mailboxes.items() for name, data in folders.items()}


class Frame(Record):
    """A frame of an archive that can be changed and put back."""

    at: int
    header: FrameHeader
    payload: bytes

    @property
    def end(self) -> int:
        return self.at + frames.HEADER_BYTES + self.header.stored_bytes


def frames_of(data: bytes, kind: FrameType | None = None) -> list[Frame]:
    """The frames of an archive that is whole."""
    found = [
        Frame(frame.at, frame.header, frame.payload)
        for frame in scan(MemoryFile(data))
        if isinstance(frame, FoundFrame)
    ]
    return [one for one in found if kind in (None, one.header.type)]


def encoded(header: FrameHeader, payload: bytes, **changes: Any) -> bytes:
    """A frame with a payload as it is, and a right checksum; ``changes`` are fields of its header."""
    header = header._replace(codec=Codec.NONE, plain_bytes=len(payload), **changes)
    return (
        frames.encode_header(
            header.type,
            header.codec,
            payload,
            header.plain_bytes,
            header.archive,
            header.sequence,
            header.position,
        )
        + payload
    )


def recrafted(data: bytes, change: Callable[[Frame], bytes | None]) -> bytes:
    """An archive written anew with changed payloads, and every checksum right.

    ``change`` gives the new payload of a frame, None to keep it. The offsets in directory and footer
    follow what has moved before it is asked.
    """
    out = bytearray()
    moved: dict[int, tuple[int, int]] = {}  # where it lies now, and its size there
    for one in frames_of(data):
        payload = one.payload
        if one.header.type is FrameType.DIRECTORY:
            payload = _directory_moved(payload, moved)
        elif one.header.type is FrameType.FOOTER:
            footer = contents.decode_footer(payload)
            payload = contents.encode_footer(
                replace(footer, directory=moved[footer.directory][0], footer=len(out))
            )
        changed = change(replace(one, payload=payload))
        frame = encoded(one.header, payload if changed is None else changed)
        moved[one.at] = len(out), len(frame)
        out += frame
    return bytes(out)


def remapped(payload: bytes, **changes: object) -> bytes:
    """A msgpack map with other values."""
    row = unpacked(payload)
    row.update(changes)
    packed: bytes = msgpack.packb(row, unicode_errors="surrogateescape")
    return packed


def unpacked(payload: bytes) -> dict[str, Any]:
    """A payload as the map that it is."""
    row: dict[str, Any] = msgpack.unpackb(payload, unicode_errors="surrogateescape")
    return row


def _directory_moved(payload: bytes, moved: Mapping[int, tuple[int, int]]) -> bytes:
    row = unpacked(payload)
    file = columns.unpack_deltas(row["block_file"], row["blocks"], "block_file")
    return remapped(
        payload,
        places=[
            [
                number,
                _moved(frames, moved, 2),
                [_moved(copies, moved, 2) for copies in parts],
                _moved(messages, moved, 3),
            ]
            for number, frames, parts, messages in row["places"]
        ],
        block_file=columns.pack_deltas([moved[at][0] for at in file]),
        block_size=columns.pack("I", [moved[at][1] for at in file]),
        index=[moved[at][0] for at in row["index"]],
        departed=[[moved[at][0] for at in copies] for copies in row["departed"]],
        parts=[moved[at][0] for at in row["parts"]],
    )


def _moved(row: list[int], moved: Mapping[int, tuple[int, int]], width: int) -> list[int]:
    """Offsets and sizes of frames, and of the frame behind each where there are three numbers."""
    found: list[int] = []
    for place in range(0, len(row), width):
        at, size = row[place : place + 2]
        found += moved.get(at, (at, size))
        if width == 3:
            behind = at + size
            found.append(moved[behind][1] if behind in moved else row[place + 2])
    return found
