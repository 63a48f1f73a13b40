"""What an archive says about itself: its header at the front, its footer at the end, the records of its
directory, and the index of segments. FORMAT.md, "HEADER", "FOOTER", "INDEX".
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import add
from typing import cast

import msgpack

from ..errors import DamagedError, UnsupportedError
from ..records import DIGEST_BYTES, ArchiveId, Losses, MailboxSummary, Referred, RunId, Skipped, Stretch
from ..structs import Record, field
from . import claims, columns
from .frames import mailbox_position
from .places import GONE, BlockTable, MailboxPlace
from .pointers import MailboxPointer

READ_VERSION = 4
"""What a reader understands. A greater number in an archive: refuse it."""

WRITE_VERSION = 4
"""What a writer understands. A greater number in an archive: read it, never add."""

PLAIN_VERSION = 3
"""That of archives that are not encrypted."""

_FOOTER = struct.Struct("<QQQ8s")
_FOOTER_END = b"mailhaul"
_ENDLESS = 1 << 64
LAST = (1 << 63) - 1
"""No offset in the data and no position of a frame is greater."""

_LAST_SECOND = 253_402_300_799  # of the year 9999, where calendars end


class ArchiveHeader(Record, kw_only=True):
    """Whose archive it is. ``run_started`` is in seconds since 1970; ``generation`` counts how often it was
    written anew without what nobody needs any more; ``write_version`` is what a writer must understand to do
    that, or to go on with it. ``stream``: it stands in a stream that the archive of its run ends.
    ``sealed``: it is encrypted."""

    archive: ArchiveId
    run: RunId
    run_started: float
    host: str
    partition: str
    format: str
    group: str
    shard: int
    program: str
    generation: int = 0
    write_version: int = PLAIN_VERSION
    stream: bool = False
    sealed: bool = False


class MailboxEntry(Record, kw_only=True):
    """A mailbox in the directory: where it is written, in this archive or another one, and its counts.

    ``archives`` are the other archives that it takes to read it. ``rows`` are all those in which its metadata
    lies, this one too, and of how many messages. ``place``, ``added``, ``vanished`` and ``changed`` are those
    of the mailbox (``Mailbox``).
    """

    user: str
    home: MailboxPointer
    folders: int
    listed: int
    stored: int
    size_bytes: int
    place: bytes = b""
    archives: tuple[ArchiveId, ...] = ()
    rows: tuple[tuple[ArchiveId, int], ...] = ()
    added: int = 0
    vanished: int = 0
    changed: bool = True

    def summary(self, partition: str, group: str) -> MailboxSummary:
        """The counts of this mailbox."""
        return MailboxSummary(
            partition=partition,
            group=group,
            user=self.user,
            folders=self.folders,
            listed=self.listed,
            stored=self.stored,
            skipped=self.listed - self.stored,
            size_bytes=self.size_bytes,
            added=self.added,
            vanished=self.vanished,
            changed=self.changed,
        )


def frames_gone(places: Iterable[MailboxPlace], lost: Iterable[int] = ()) -> tuple[Stretch, ...]:
    """The positions of frames of metadata that are not there: all but those at these places, and of them
    those that stand for ``lost`` ones."""
    gone = [Stretch(position, 1) for position in lost]
    begin = 0
    for place in places:
        first = mailbox_position(place.number, 0)
        if begin < first:
            gone.append(Stretch(begin, first - begin))
        gone += [
            Stretch(first + number, 1)
            for number, messages_place in enumerate(place.messages)
            if messages_place == GONE
        ]
        begin = mailbox_position(place.number + 1, 0) if place.frames else first + len(place.messages)
    return (*sorted(set(gone)), Stretch(begin, LAST - begin))


HASH_BYTES = 32


class Seal(Record):
    """What the directory of an encrypted archive says of all of it: the ``chain`` over the headers of the
    frames before, the offset and the sequence of the last DIRECTORY frame, and the digest (32 bytes) of the
    KEYS frame behind it. ``used`` has each slot of earlier attempts and generations with a number above
    those that counters of its frames have here."""

    chain: bytes
    at: int
    sequence: int
    keys: bytes
    used: tuple[tuple[int, int], ...] = ()


class ArchiveDirectory(Record, kw_only=True):
    """The table of contents of a whole archive, or the part of it in one frame.

    ``mailboxes`` are those that it tells of; ``places`` are where the frames of those lie that are written in
    it, ascending by number. ``departed_frames`` tell which mailboxes are gone as of its run, each part of
    them with the offsets of its copies; ``unopened`` are those that could not be opened; ``holes`` are the
    stretches of the data that no block holds, ascending. ``lost`` is what was damaged when the archive was
    written anew, and may be needed. ``referred`` tells of the archives that the mailboxes refer to. ``seal``
    is that of an encrypted archive."""

    mailboxes: tuple[MailboxEntry, ...]
    places: tuple[MailboxPlace, ...] = ()
    blocks: BlockTable
    data_bytes: int
    index_frames: tuple[int, ...]
    departed_frames: tuple[tuple[int, ...], ...] = ()
    unopened: tuple[Skipped, ...] = ()
    holes: tuple[Stretch, ...] = ()
    lost: Losses = field(default_factory=Losses)
    referred: tuple[Referred, ...] = ()
    seal: Seal | None = None

    @property
    def frames(self) -> int:
        """How many frames it names."""
        places = sum(place.count for place in self.places)
        departed = sum(map(len, self.departed_frames))
        return places + len(self.blocks.file) + len(self.index_frames) + departed

    @property
    def references(self) -> tuple[ArchiveId, ...]:
        """The other archives that its mailboxes refer to, each once."""
        return tuple(dict.fromkeys(archive for mailbox in self.mailboxes for archive in mailbox.archives))

    def block_end(self, number: int) -> int:
        """Where the data of a block ends: where the next block, a hole, or nothing begins."""
        data = self.blocks.data
        end = data[number + 1] if number + 1 < len(data) else self.data_bytes
        return min(end, self._next_hole(data[number]))

    def held(self, index: IndexRow) -> IndexRow:
        """The segments of an index that lie in no hole. Raises DamagedError if one is beyond the data."""
        ends = list(map(add, index.offsets, index.lengths))
        if max(ends, default=0) > self.data_bytes:
            raise DamagedError("an index of other data", reason="metadata")
        if not self.holes:
            return index
        rows = [
            row
            for row, (offset, end) in enumerate(zip(index.offsets, ends, strict=True))
            if self.hole_at(offset) is None and self._next_hole(offset) >= end
        ]
        return IndexRow(
            b"".join(index.digests[DIGEST_BYTES * row : DIGEST_BYTES * (row + 1)] for row in rows),
            [index.offsets[row] for row in rows],
            [index.lengths[row] for row in rows],
            index.owner,
        )

    def _next_hole(self, offset: int) -> int:
        """Where the first hole at or behind an offset begins."""
        following = bisect_left(self.holes, Stretch(offset, 0))
        return self.holes[following].offset if following < len(self.holes) else _ENDLESS

    def hole_at(self, offset: int) -> Stretch | None:
        """The hole in which an offset of the data lies, if it lies in one."""
        if not self.holes:
            return None  # as in most archives
        before = bisect_right(self.holes, Stretch(offset, _ENDLESS)) - 1
        hole = self.holes[before] if before >= 0 else None
        return hole if hole is not None and offset < hole.offset + hole.length else None


class Footer(Record, kw_only=True):
    """The last frame: a file that ends with one is whole. Offsets count from the start of the archive."""

    directory: int
    footer: int
    frames: int


FOOTER_BYTES = _FOOTER.size


def encode_header(header: ArchiveHeader) -> bytes:
    """The payload of the HEADER frame."""
    version = READ_VERSION if header.sealed else PLAIN_VERSION
    row = {
        "read_version": version,
        "write_version": version,
        "archive": header.archive,
        "run": header.run,
        "run_started": float(header.run_started),
        "host": header.host,
        "partition": header.partition,
        "format": header.format,
        "group": header.group,
        "shard": header.shard,
        "program": header.program,
        "generation": header.generation,
        **({"stream": True} if header.stream else {}),
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
    known = version in (PLAIN_VERSION, READ_VERSION)
    if not known or not isinstance(started, float) or not 0 <= started <= _LAST_SECOND:
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
        generation=claims.number(row.get("generation")),
        write_version=claims.number(row.get("write_version")),
        stream=row.get("stream") is True,
        sealed=version == READ_VERSION,
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


class IndexRow(Record):
    """Remembered segments, by columns: digests one after the other, their offsets, their lengths. ``owner``
    is the id of the secret of the mailbox that they are of; empty where any may refer to them."""

    digests: bytes
    offsets: list[int]
    lengths: list[int]
    owner: bytes = b""


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
