"""What an archive says about itself: its header at the front, its footer at the end, the records of its
directory, and the index of segments. FORMAT.md, "HEADER", "FOOTER", "INDEX".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgpack

from ..errors import DamagedError, UnsupportedError
from ..records import DIGEST_BYTES, ArchiveId, RunId
from . import claims, columns

READ_VERSION = 1
"""What a reader must understand. A greater number in an archive: refuse it."""

WRITE_VERSION = 1
"""What a writer must understand to add to an archive. A greater number: read it, never add."""

_FOOTER = struct.Struct("<QQQ8s")
_FOOTER_END = b"mailhaul"
_LAST_SECOND = 253_402_300_799  # of the year 9999, where calendars end


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
    """A mailbox in the directory: where its frames lie in the file, and its counts.

    ``number`` counts the mailboxes of the archive from 0. ``frames`` are the MAILBOX frame and its copy,
    ``message_frames`` the MESSAGES frames in order; LOST stands for one that was not found.
    """

    number: int
    user: str
    frames: tuple[int, ...]
    message_frames: tuple[int, ...]
    folders: int
    listed: int
    stored: int
    size_bytes: int


LOST = -1
"""The offset of a frame that is not there any more; only ``salvage`` makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTable:
    """Where each block lies: its offset in the data, ascending, and its offset in the file."""

    data: Sequence[int]
    file: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveDirectory:
    """The table of contents of a whole archive, or the part of it in one frame."""

    mailboxes: tuple[MailboxEntry, ...]
    blocks: BlockTable
    data_bytes: int
    index_frames: tuple[int, ...]

    @property
    def frames(self) -> int:
        """How many frames it names."""
        mailboxes = sum(len(one.frames) + len(one.message_frames) for one in self.mailboxes)
        return mailboxes + len(self.blocks.file) + len(self.index_frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """The last frame: a file that ends with one is whole. Offsets count from the start of the archive."""

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
        "run_started": float(header.run_started),
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
    row = claims.unpack_map(payload)
    version = row.get("read_version")
    if isinstance(version, int) and version > READ_VERSION:
        raise UnsupportedError(
            f"the archive has format version {version}, this program reads up to {READ_VERSION}: "
            "use a newer mailhaul"
        )
    started = row.get("run_started")
    if version != READ_VERSION or not isinstance(started, float) or not 0 <= started <= _LAST_SECOND:
        raise DamagedError("the archive header is not complete", reason="metadata")
    return ArchiveHeader(
        archive=claims.archive_id(row.get("archive")),
        run=RunId(claims.name(row.get("run"))),
        run_started=started,
        host=claims.text(row.get("host")),
        partition=claims.name(row.get("partition")),
        format=claims.text(row.get("format")),
        group=claims.name(row.get("group")),
        shard=claims.number(row.get("shard")),
        program=claims.text(row.get("program")),
    )


def encode_footer(footer: Footer) -> bytes:
    """The payload of the FOOTER frame; always FOOTER_BYTES long."""
    return _FOOTER.pack(footer.directory, footer.footer, footer.frames, _FOOTER_END)


def decode_footer(payload: bytes) -> Footer:
    """Raises DamagedError."""
    if len(payload) != FOOTER_BYTES:
        raise DamagedError("the footer has a wrong length", reason="metadata")
    directory, footer, frames, end = _FOOTER.unpack(payload)
    if end != _FOOTER_END or directory >= footer:
        raise DamagedError("the footer is not one", reason="metadata")
    return Footer(directory=directory, footer=footer, frames=frames)


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
    row = claims.unpack_map(payload)
    count, digests = claims.number(row.get("n")), claims.octets(row.get("digest"))
    if len(digests) != count * DIGEST_BYTES:
        raise DamagedError("an index frame is not complete", reason="metadata")
    return IndexRow(
        digests,
        columns.unpack_deltas(row.get("offset"), count, "offset"),
        list(columns.unpack("I", row.get("length"), count, "length")),
    )
