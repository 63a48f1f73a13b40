"""Archives in memory, for the tests of the format: written by the real writer, read by the real reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from mailhaul.proto.archive import columns, contents, frames
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.contents import ArchiveHeader
from mailhaul.proto.archive.draft import Draft, read_draft
from mailhaul.proto.archive.frames import Codec, FrameHeader, FrameType
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.scanning import FoundFrame, scan
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, FileStat, Folder, Listed, Message, Ownership, RunId, Terms
from mailhaul.worker.packing import Packer

ARCHIVE = ArchiveId(bytes(range(16)))
OWNER = Ownership(0o600, 1000, 1000)
ARRIVED_NS = 1_785_542_400_000_000_000

Mailboxes = Mapping[str, Mapping[str, Iterable[bytes]]]
"""User -> folder -> messages."""


class MemorySink:
    """An ArchiveSink that keeps what it is given, behind what an earlier attempt ``left``."""

    def __init__(self, left: bytes = b"") -> None:
        self.data = bytearray(left)
        self.checkpoints: list[int] = []

    def begin(self) -> Draft | None:
        draft = read_draft(MemoryFile(bytes(self.data)))
        del self.data[draft.size_bytes if draft else 0 :]
        return draft

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
    uid = size_bytes = 0
    for name, messages in folders.items():
        for data in messages:
            uid += 1
            size, digest, pieces = packer.store(MemoryOpened(data))
            archive.add_message(message(uid, data, pieces, digest), Terms(subject=data.partition(b"\n")[0]))
            size_bytes += size
        archive.end_folder(Folder(name=name, path=b"." + name.encode()))
    archive.end_mailbox(user, user.encode(), uid, size_bytes, ())


def write_archive(mailboxes: Mailboxes, *, archive: ArchiveId = ARCHIVE, codec: Codec = Codec.LZ4) -> bytes:
    """A whole archive."""
    sink = MemorySink()
    writer = ArchiveWriter(sink, archive_header(archive), codec)
    packer = Packer(writer)
    for user, folders in mailboxes.items():
        write_mailbox(writer, packer, user, folders)
    writer.finish()
    return bytes(sink.data)


def open_any(data: bytes) -> ArchiveReader:
    """As ``worker.archives.open_archive`` does it: the whole archive, else what is whole in it."""
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
    damage = [one.detail for one in reader.damage]
    data = Contents(only)
    for entry in reader.directory.mailboxes:
        try:
            mailbox = reader.mailbox(entry)
        except DamagedError as error:
            damage.append(error.message)
            continue
        for folder in mailbox.folders:
            messages = found.setdefault((mailbox.user, folder.folder.name), [])
            try:
                for one in reader.messages(entry, folder):
                    try:
                        messages.append(b"".join(data.message(one)))
                    except DamagedError as error:
                        damage.append(error.message)
            except DamagedError as error:
                damage.append(error.message)
    return found, damage


def expected(mailboxes: Mailboxes) -> Found:
    """What ``read_archive`` finds in a whole archive of these mailboxes."""
    return {(user, name): list(data) for user, folders in mailboxes.items() for name, data in folders.items()}


@dataclass(frozen=True)
class Frame:
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
        Frame(one.at, one.header, one.payload)
        for one in scan(MemoryFile(data))
        if isinstance(one, FoundFrame)
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
    moved: dict[int, int] = {}
    for one in frames_of(data):
        payload = one.payload
        if one.header.type is FrameType.DIRECTORY:
            payload = _directory_moved(payload, moved)
        elif one.header.type is FrameType.FOOTER:
            footer = contents.decode_footer(payload)
            payload = contents.encode_footer(
                replace(footer, directory=moved[footer.directory], footer=len(out))
            )
        changed = change(replace(one, payload=payload))
        moved[one.at] = len(out)
        out += encoded(one.header, payload if changed is None else changed)
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


def _directory_moved(payload: bytes, moved: Mapping[int, int]) -> bytes:
    row = unpacked(payload)
    file = columns.unpack_deltas(row["block_file"], row["blocks"], "block_file")
    return remapped(
        payload,
        mailboxes=[
            [user, [moved[at] for at in at_mailbox], [moved[at] for at in at_messages], *counts]
            for user, at_mailbox, at_messages, *counts in row["mailboxes"]
        ],
        block_file=columns.pack_deltas([moved[at] for at in file]),
        index=[moved[at] for at in row["index"]],
        parts=[moved[at] for at in row["parts"]],
    )
