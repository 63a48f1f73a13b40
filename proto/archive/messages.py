"""The metadata of a stretch of messages of one folder, by columns: one MESSAGES frame.

``MessageColumns`` gathers messages and encodes them; ``decode`` gives them back. Every claim of a frame
is checked before it is used. FORMAT.md, "MESSAGES".
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from operator import or_
from typing import NamedTuple, TypeVar, cast

import msgpack

from ..errors import DamagedError, StoreError
from ..records import DIGEST_BYTES, ArchiveId, Message, Ownership, Piece
from . import claims, columns, recipes

MOST_MESSAGES = 1 << 12
"""Messages in one frame: what is lost with it, and in memory at a time, however large a folder is."""

MOST_PIECES = 1 << 16
"""A frame is closed when it holds this many pieces, however few messages they belong to."""

MOST_TEXT_BYTES = 1 << 20
"""A frame is closed when its names and notes come to this; a message with more of its own is refused."""

_JOINED = 0x8000
_LARGEST_UID = _LARGEST_PIECE = (1 << 32) - 1
_MOST_ARCHIVES = 1 << 15

_T = TypeVar("_T")

Mark = tuple[str, bytes, str, int, int, int]


class MessageColumns:
    """The messages gathered since the last ``take``."""

    def __init__(self) -> None:
        self._archives: dict[ArchiveId, int] = {}
        self._marks: dict[Mark, int] = {}
        self._clear()

    def _clear(self) -> None:
        self._archives.clear()
        self._marks.clear()
        self._text_bytes = 0
        self._uid, self._mark = array("I"), array("I")
        self._date, self._size = [], array("Q")  # type: list[int], array[int]
        self._bases: list[bytes] = []
        self._fields: list[bytes] = []
        self._digests = bytearray()
        self._counts, self._archive = array("I"), array("H")
        self._offset, self._length, self._recipe = array("Q"), array("I"), array("H")

    def __len__(self) -> int:
        return len(self._uid)

    @property
    def archives(self) -> Iterable[ArchiveId]:
        """The archives in which their pieces lie."""
        return self._archives

    @property
    def full(self) -> bool:
        """Whether the frame should be written now."""
        return (
            len(self._uid) >= MOST_MESSAGES
            or len(self._length) >= MOST_PIECES
            or self._text_bytes >= MOST_TEXT_BYTES
            or len(self._archives) >= _MOST_ARCHIVES
        )

    def add(self, message: Message) -> None:
        """Append a message. A UID that IMAP can't have becomes 0 (not known), a date out of range the
        nearest one; what a store appends to a name that is empty becomes the name. Raises StoreError if its
        names and notes are longer than the format allows, or there is nothing to call it by."""
        text_bytes = len(message.base) + len(message.suffix) + len(message.fields) + len(message.flags)
        if text_bytes > MOST_TEXT_BYTES:
            raise StoreError(
                f"a message has {text_bytes} bytes of names and notes: beyond the archive format"
            )
        if (
            len(message.pieces) > _MOST_ARCHIVES
            and len({one.archive for one in message.pieces}) > _MOST_ARCHIVES
        ):
            raise StoreError("a message lies in too many archives: beyond the archive format")
        uid = message.uid if 0 <= message.uid <= _LARGEST_UID else 0
        base, suffix, owner = message.base, message.suffix, message.owner
        if not uid and not base:
            base, suffix = suffix, b""
            if not base:
                raise StoreError("a message has neither UID nor name")
        self._text_bytes += text_bytes
        mark = (message.place, suffix, message.flags, owner.mode, owner.uid, owner.gid)
        self._mark.append(self._marks.setdefault(mark, len(self._marks)))
        self._uid.append(uid)
        self._date.append(columns.clamped(message.date_ns))
        self._size.append(message.size)
        self._bases.append(base)
        self._fields.append(message.fields)
        self._digests += message.digest
        self._counts.append(len(message.pieces))
        for archive, offset, length, recipe, joined in message.pieces:
            self._archive.append(self._archives.setdefault(archive, len(self._archives)))
            self._offset.append(offset)
            self._length.append(length)
            self._recipe.append(recipe | _JOINED if joined else recipe)

    def take(self) -> bytes:
        """The encoded columns; empties the gatherer."""
        encoded = cast(
            bytes,
            msgpack.packb(
                {
                    "n": len(self._uid),
                    "uid": columns.pack("I", self._uid),
                    "mark": columns.pack("I", self._mark),
                    "marks": list(self._marks),
                    "date": columns.pack_deltas(self._date),
                    "size": columns.pack("Q", self._size),
                    "base": columns.pack_strings(self._bases),
                    "fields": columns.pack_strings(self._fields) if any(self._fields) else None,
                    "digest": bytes(self._digests),
                    "pieces": columns.pack("I", self._counts),
                    "archives": list(self._archives),
                    "archive": columns.pack("H", self._archive),
                    "gap": columns.pack("Q", self._gaps()),
                    "length": columns.pack("I", self._length),
                    "recipe": columns.pack("H", self._recipe),
                },
                unicode_errors="surrogateescape",
            ),
        )
        self._clear()
        return encoded

    def _gaps(self) -> list[int]:
        """Offsets as distances from the end of the piece before: 0 for all that was stored in a row."""
        expected, gaps = 0, []
        for offset, length in zip(self._offset, self._length, strict=True):
            gaps.append((offset - expected) & ((1 << 64) - 1))
            expected = offset + length
        return gaps


def join_pieces(pieces: list[Piece], piece: Piece) -> None:
    """Append a piece, as a part of the last one where both are raw and lie in a row."""
    if pieces and piece.recipe == recipes.RAW:
        last = pieces[-1]
        if (
            last.recipe == recipes.RAW
            and last.offset + last.length == piece.offset
            and last.archive == piece.archive
            and last.length + piece.length <= _LARGEST_PIECE
        ):
            pieces[-1] = Piece(last.archive, last.offset, last.length + piece.length)
            return
    pieces.append(piece)


def decode(payload: bytes) -> list[Message]:
    """The messages of a MESSAGES frame. Raises DamagedError if it contradicts itself."""
    row = claims.unpack_map(payload)
    count = _count(row)
    called = _names(row, count)
    date = columns.unpack_deltas(row.get("date"), count, "date", signed=True)
    size = _sizes(row, count)
    digests = claims.octets(row.get("digest"))
    if len(digests) != count * DIGEST_BYTES:
        raise DamagedError("column digest has a wrong length", reason="metadata")
    pieces = _pieces(row, count)
    return [
        Message(
            called.uid[i],
            called.base[i],
            called.suffix[i],
            called.place[i],
            called.flags[i],
            called.fields[i],
            date[i],
            called.owner[i],
            size[i],
            digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES],
            pieces[i],
        )
        for i in range(count)
    ]


LOST = MessageColumns().take()
"""The payload of a frame without messages: it stands for one that was lost."""


class Totals(NamedTuple):
    """What the messages of a frame come to."""

    messages: int
    size_bytes: int


class Names(NamedTuple):
    """What the messages of a frame are called, and how they are marked, by columns: as much as a listing of
    their folder tells."""

    uid: Sequence[int]
    base: Sequence[bytes]
    suffix: Sequence[bytes]
    place: Sequence[str]
    flags: Sequence[str]
    fields: Sequence[bytes]
    owner: Sequence[Ownership]


def totals(payload: bytes) -> Totals:
    """Number and sizes of the messages of a MESSAGES frame, without decoding them. Raises DamagedError."""
    row = claims.unpack_map(payload)
    count = _count(row)
    return Totals(count, sum(_sizes(row, count)))


def archives_of(payload: bytes) -> tuple[ArchiveId, ...]:
    """The archives in which pieces of the messages of a MESSAGES frame lie, without decoding them. Raises
    DamagedError."""
    return tuple(_archives(claims.unpack_map(payload)))


def names(payload: bytes) -> Names:
    """What the messages of a MESSAGES frame are called: to compare them with a folder, at a small part of the
    cost of decoding them. Raises DamagedError."""
    row = claims.unpack_map(payload)
    return _names(row, _count(row))


def _count(row: Mapping[str, object]) -> int:
    count = row.get("n")
    if not isinstance(count, int) or not 0 <= count <= MOST_MESSAGES:
        raise DamagedError(f"a frame of {claims.shown(count)} messages is not possible", reason="metadata")
    return count


def _sizes(row: Mapping[str, object], count: int) -> Sequence[int]:
    size = columns.unpack("Q", row.get("size"), count, "size")
    if count and max(size) >= 1 << 63:
        raise DamagedError("a message can't be that large", reason="metadata")
    return size


def _names(row: Mapping[str, object], count: int) -> Names:
    uid = columns.unpack("I", row.get("uid"), count, "uid")
    base = columns.unpack_strings(row.get("base"), count, "base")
    fields: Sequence[bytes] = [b""] * count
    if row.get("fields") is not None:
        fields = columns.unpack_strings(row["fields"], count, "fields")
    if not all(map(or_, uid, map(len, base))):
        raise DamagedError("a message has neither UID nor name", reason="metadata")
    marks = [_mark(mark) for mark in claims.rows(row.get("marks"))]
    mark = columns.unpack("I", row.get("mark"), count, "mark")
    if count and max(mark) >= len(marks):
        raise DamagedError("column mark points nowhere", reason="metadata")
    places, suffixes, flags, owners = zip(*marks, strict=True) if marks else ((), (), (), ())

    def of_each(column: Sequence[_T]) -> Sequence[_T]:
        return list(map(column.__getitem__, mark))

    return Names(uid, base, of_each(suffixes), of_each(places), of_each(flags), fields, of_each(owners))


def _mark(value: object) -> tuple[str, bytes, str, Ownership]:
    mark = claims.rows(value)
    if len(mark) != 6:
        raise DamagedError(f"not a mark: {claims.shown(value)}", reason="metadata")
    return claims.text(mark[0]), claims.octets(mark[1]), claims.text(mark[2]), claims.ownership(*mark[3:])


def _archives(row: Mapping[str, object]) -> list[ArchiveId]:
    return [claims.archive_id(value) for value in claims.rows(row.get("archives"))]


def _pieces(row: Mapping[str, object], count: int) -> list[tuple[Piece, ...]]:
    counts = columns.unpack("I", row.get("pieces"), count, "pieces")
    total = sum(counts)
    archives = _archives(row)
    archive = columns.unpack("H", row.get("archive"), total, "archive")
    if total and max(archive) >= len(archives):
        raise DamagedError("column archive points nowhere", reason="metadata")
    gap = columns.unpack("Q", row.get("gap"), total, "gap")
    length = columns.unpack("I", row.get("length"), total, "length")
    recipe = columns.unpack("H", row.get("recipe"), total, "recipe")
    found: list[tuple[Piece, ...]] = []
    at = expected = 0
    for pieces_of_one in counts:
        pieces = []
        for i in range(at, at + pieces_of_one):
            offset = (expected + gap[i]) & ((1 << 64) - 1)
            expected = offset + length[i]
            pieces.append(
                claims.piece(
                    archives[archive[i]], offset, length[i], recipe[i] & ~_JOINED, bool(recipe[i] & _JOINED)
                )
            )
        found.append(tuple(pieces))
        at += pieces_of_one
    return found
