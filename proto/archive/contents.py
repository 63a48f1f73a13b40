"""What an archive says about itself: its header at the front, its directory and footer at the end.

FORMAT.md, "HEADER", "DIRECTORY", "FOOTER", "INDEX".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, cast

import msgpack

from ..errors import DamagedError, UnsupportedError
from ..records import DIGEST_BYTES, ArchiveId, RunId
from . import columns
from .messages import archive_id, unpack_map

READ_VERSION = 1
"""What a reader must understand. A greater number in an archive: refuse it."""

WRITE_VERSION = 1
"""What a writer must understand to add to an archive. A greater number: read it, never add."""

_FOOTER = struct.Struct("<16sQQQ8s")
_FOOTER_END = b"mailhaul"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveHeader:
    """Whose archive it is. ``run_started`` is in seconds since 1970."""

    archive: ArchiveId
    run: RunId
    run_started: float
    host: str
    partition: str
    format: str
    group: str
    shard: int
    program: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxEntry:
    """A mailbox in the directory: where its frames lie in the file, and its counts."""

    user: str
    frame: int
    message_frames: tuple[int, ...]
    folders: int
    listed: int
    stored: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTable:
    """Where each block lies: its offset in the data, its offset in the file. Both ascending."""

    data: list[int]
    file: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveDirectory:
    """The table of contents of a whole archive."""

    mailboxes: tuple[MailboxEntry, ...]
    blocks: BlockTable
    data_bytes: int
    index_frames: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """The last frame: a file that ends with one is whole. Offsets count from the start of the archive."""

    archive: ArchiveId
    directory: int
    footer: int
    frames: int


FOOTER_BYTES = _FOOTER.size


def encode_header(header: ArchiveHeader) -> bytes:
    """The payload of the HEADER frame."""
    row = {
        "read_version": READ_VERSION,
        "write_version": WRITE_VERSION,
        "archive": header.archive,
        "run": header.run,
        "run_started": header.run_started,
        "host": header.host,
        "partition": header.partition,
        "format": header.format,
        "group": header.group,
        "shard": header.shard,
        "program": header.program,
    }
    return cast(bytes, msgpack.packb(row, unicode_errors="surrogateescape"))


def decode_header(payload: bytes) -> ArchiveHeader:
    """Raises DamagedError, or UnsupportedError if a newer version wrote the archive."""
    row: dict[str, Any] = unpack_map(payload)
    version = row.get("read_version")
    if isinstance(version, int) and version > READ_VERSION:
        raise UnsupportedError(
            f"the archive has format version {version}, this program reads up to {READ_VERSION}: "
            "use a newer mailhaul"
        )
    texts = ("run", "host", "partition", "format", "group", "program")
    shard, started = row.get("shard"), row.get("run_started")
    if (
        version != READ_VERSION
        or not all(isinstance(row.get(key), str) for key in texts)
        or not isinstance(shard, int)
        or not isinstance(started, float)
    ):
        raise DamagedError("the archive header is not complete", reason="metadata")
    return ArchiveHeader(
        archive=archive_id(row.get("archive")),
        run=RunId(row["run"]),
        run_started=started,
        host=row["host"],
        partition=row["partition"],
        format=row["format"],
        group=row["group"],
        shard=shard,
        program=row["program"],
    )


def encode_directory(directory: ArchiveDirectory) -> bytes:
    """The payload of the DIRECTORY frame."""
    row = {
        "mailboxes": [
            [
                one.user,
                one.frame,
                list(one.message_frames),
                one.folders,
                one.listed,
                one.stored,
                one.size_bytes,
            ]
            for one in directory.mailboxes
        ],
        "blocks": len(directory.blocks.data),
        "block_data": columns.pack_deltas(directory.blocks.data),
        "block_file": columns.pack_deltas(directory.blocks.file),
        "data_bytes": directory.data_bytes,
        "index": list(directory.index_frames),
    }
    return cast(bytes, msgpack.packb(row, unicode_errors="surrogateescape"))


def decode_directory(payload: bytes) -> ArchiveDirectory:
    """Raises DamagedError if it contradicts itself."""
    row: dict[str, Any] = unpack_map(payload)
    try:
        mailboxes = tuple(_mailbox_entry(one) for one in row["mailboxes"])
        count = row["blocks"]
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"{count!r} blocks")
        table = BlockTable(
            data=columns.unpack_deltas(row["block_data"], count, "block_data"),
            file=columns.unpack_deltas(row["block_file"], count, "block_file"),
        )
        index = tuple(_offset(one) for one in row["index"])
        data_bytes = _offset(row["data_bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the directory is not complete: {error!r}", reason="metadata") from error
    for column, end in ((table.data, data_bytes), (table.file, 1 << 63)):
        if any(a >= b for a, b in zip(column, [*column[1:], end], strict=True)):
            raise DamagedError("the table of blocks is not in order", reason="metadata")
    if (table.data[0] if table.data else data_bytes) != 0:
        raise DamagedError("the table of blocks does not begin at 0", reason="metadata")
    return ArchiveDirectory(mailboxes=mailboxes, blocks=table, data_bytes=data_bytes, index_frames=index)


def _mailbox_entry(row: list[Any]) -> MailboxEntry:
    user, frame, message_frames, folders, listed, stored, size_bytes = row
    if not isinstance(user, str):
        raise ValueError(f"not a user: {user!r}")
    return MailboxEntry(
        user=user,
        frame=_offset(frame),
        message_frames=tuple(_offset(one) for one in message_frames),
        folders=_offset(folders),
        listed=_offset(listed),
        stored=_offset(stored),
        size_bytes=_offset(size_bytes),
    )


def _offset(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"not an offset: {value!r}")
    return value


def encode_footer(footer: Footer) -> bytes:
    """The payload of the FOOTER frame; always FOOTER_BYTES long."""
    return _FOOTER.pack(footer.archive, footer.directory, footer.footer, footer.frames, _FOOTER_END)


def decode_footer(payload: bytes) -> Footer:
    """Raises DamagedError."""
    if len(payload) != FOOTER_BYTES:
        raise DamagedError("the footer has a wrong length", reason="metadata")
    archive, directory, footer, frames, end = _FOOTER.unpack(payload)
    if end != _FOOTER_END or directory >= footer:
        raise DamagedError("the footer is not one", reason="metadata")
    return Footer(archive=ArchiveId(archive), directory=directory, footer=footer, frames=frames)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Remembered segments, by columns: digests one after the other, their offsets, their lengths."""

    digests: bytes
    offsets: list[int]
    lengths: list[int]


def encode_index(index: IndexRow) -> bytes:
    """The payload of an INDEX frame."""
    row = {
        "n": len(index.offsets),
        "digest": index.digests,
        "offset": columns.pack_deltas(index.offsets),
        "length": columns.pack("I", index.lengths),
    }
    return cast(bytes, msgpack.packb(row))


def decode_index(payload: bytes) -> IndexRow:
    """Raises DamagedError."""
    row = unpack_map(payload)
    count, digests = row.get("n"), row.get("digest")
    if not isinstance(count, int) or not isinstance(digests, bytes) or len(digests) != count * DIGEST_BYTES:
        raise DamagedError("an index frame is not complete", reason="metadata")
    return IndexRow(
        digests,
        columns.unpack_deltas(row.get("offset"), count, "offset"),
        list(columns.unpack("I", row.get("length"), count, "length")),
    )
