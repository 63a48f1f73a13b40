"""The metadata of a stretch of messages of one folder, by columns: one MESSAGES frame.

``MessageColumns`` gathers messages and encodes them; ``decode`` gives them back, ``MessageRows`` tells of
them without decoding each. FORMAT.md, "MESSAGES".
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import sub
from typing import cast

import msgpack

from ..errors import StoreError
from ..records import DIGEST_BYTES, ArchiveId, Attributes, Listed, Message, Piece
from . import claims, columns, recipes
from .message_rows import (
    JOINED,
    LARGEST_UID,
    MOST_MESSAGES,
    WRAP,
    MessageRows,
    Names,
    Told,
    Totals,
    as_stored,
)

__all__ = [
    "LOST",
    "MOST_LOST_BYTES",
    "MOST_MESSAGES",
    "MOST_PIECES",
    "MOST_TEXT_BYTES",
    "MessageColumns",
    "MessageRows",
    "Names",
    "Totals",
    "archives_of",
    "as_stored",
    "decode",
    "is_lost",
    "join_pieces",
    "names",
    "totals",
]

MOST_PIECES = 1 << 16
"""A frame is closed when it holds this many pieces, however few messages they belong to."""

MOST_TEXT_BYTES = 1 << 20
"""A frame is closed when its names and notes come to this; a message with more of its own is refused."""

_LARGEST_PIECE = (1 << 32) - 1
_MOST_ARCHIVES = 1 << 15

_Mark = tuple[str, tuple[str, ...], Attributes, str, bytes, int, int, int]
"""Flags, keywords, attributes, then place, suffix, mode, user and group id. Not a record: one is made of
every message, to look for it."""


class MessageColumns:
    """The messages gathered since the last ``take``."""

    def __init__(self) -> None:
        self._archives: dict[ArchiveId, int] = {}
        self._marks: dict[_Mark, int] = {}
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
        self._link = array("Q")
        self._inode = array("Q")
        self._counts, self._archive = array("I"), array("H")
        self._gap, self._length, self._recipe = array("Q"), array("I"), array("H")
        self._expected = 0  # where the last piece ends: the next one most often begins there

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

    def told(self, first: int) -> Told:
        """What there is to be told of the messages from row ``first`` on."""
        uids = self._uid[first:]
        numbers = list(self._archives)
        pieces = sum(self._counts[first:])
        used = dict.fromkeys(self._archive[len(self._archive) - pieces :])
        return Told(
            messages=len(self._uid) - first,
            size_bytes=sum(self._size[first:]),
            low_uid=min(filter(None, uids), default=0),
            high_uid=max(uids, default=0),
            data=tuple(numbers[one] for one in used),
        )

    def add(self, message: Message) -> None:
        """Append a message. A UID that IMAP can't have becomes 0 (not known), a date out of range the
        nearest one; what a store appends to a name that is empty becomes the name. Raises StoreError if its
        names and notes are longer than the format allows, or there is nothing to call it by."""
        text_bytes = _text_bytes(message)
        if (
            len(message.pieces) > _MOST_ARCHIVES
            and len({piece.archive for piece in message.pieces}) > _MOST_ARCHIVES
        ):
            raise StoreError("a message lies in too many archives: beyond the archive format")
        uid = message.uid if 0 <= message.uid <= LARGEST_UID else 0
        base, suffix, owner = message.base, message.suffix, message.owner
        flags, keywords, attributes = message.flags, message.keywords, message.attributes
        if not uid and not base:
            base, suffix = suffix, b""
            if not base:
                raise StoreError("a message has neither UID nor name")
        mark = (flags, keywords, attributes, message.place, suffix, owner.mode, owner.uid, owner.gid)
        if (number := self._marks.get(mark)) is None:
            text_bytes += _named_bytes(keywords, attributes)
            number = self._marks[mark] = len(self._marks)
        self._text_bytes += text_bytes
        self._mark.append(number)
        self._link.append(message.link)
        self._inode.append(message.inode)
        self._uid.append(uid)
        self._date.append(columns.clamped(message.date_ns))
        self._size.append(message.size)
        self._bases.append(base)
        self._fields.append(message.fields)
        self._digests += message.digest
        self._counts.append(len(message.pieces))
        for archive, offset, length, recipe, joined in message.pieces:
            self._archive.append(self._archives.setdefault(archive, len(self._archives)))
            self._gap.append((offset - self._expected) & WRAP)
            self._length.append(length)
            self._recipe.append(recipe | JOINED if joined else recipe)
            self._expected = offset + length

    def has_room_for(self, rows: MessageRows, first: int, called: Sequence[Listed]) -> bool:
        """Whether these rows of a stored frame can be added. One row always can be if nothing was gathered;
        StoreError if it is beyond the format even so."""
        end = first + len(called)
        text_bytes = sum(map(_text_bytes, called))
        named = set(
            zip([listed.keywords for listed in called], rows.names.attributes[first:end], strict=True)
        )
        text_bytes += sum(_named_bytes(*one) for one in named)
        if len(called) == 1 and not self._uid:
            return True
        starts = rows.contents.starts
        return (
            len(self._uid) + len(called) <= MOST_MESSAGES
            and len(self._length) + starts[end] - starts[first] <= MOST_PIECES
            and self._text_bytes + text_bytes <= MOST_TEXT_BYTES
            and len(self._archives) + len(rows.archives) <= _MOST_ARCHIVES
        )

    def add_rows(self, rows: MessageRows, first: int, called: Sequence[Listed]) -> None:
        """Append the messages of a stored frame from row ``first`` on, as many as there are names, and called
        like these: as a frame has them, with a base each. There has to be room for them."""
        end = first + len(called)
        self._text_bytes += sum(map(_text_bytes, called))
        marks = self._marks
        names = rows.names
        for listed, owner, attributes in zip(
            called, names.owner[first:end], names.attributes[first:end], strict=True
        ):
            whose = owner.mode, owner.uid, owner.gid
            mark = (listed.flags, listed.keywords, attributes, listed.place, listed.suffix, *whose)
            if (number := marks.get(mark)) is None:
                self._text_bytes += _named_bytes(listed.keywords, attributes)
                number = marks[mark] = len(marks)
            self._mark.append(number)
        self._uid.extend([one.uid for one in called])
        self._bases += [one.base for one in called]
        self._fields += [one.fields for one in called]
        held = rows.contents
        self._date += held.date[first:end]
        self._size.extend(rows.sizes[first:end])
        self._link.extend(held.link[first:end])
        self._inode.extend(names.inode[first:end])
        self._digests += held.digests[first * DIGEST_BYTES : end * DIGEST_BYTES]
        self._counts.extend(map(sub, held.starts[first + 1 : end + 1], held.starts[first:end]))
        self._add_pieces(rows, held.starts[first], held.starts[end])

    def _add_pieces(self, rows: MessageRows, first: int, end: int) -> None:
        if first == end:
            return
        held, archives = rows.contents, self._archives
        archive = held.archive[first:end]
        numbers = {
            one: archives.setdefault(rows.archives[one], len(archives)) for one in dict.fromkeys(archive)
        }
        self._archive.extend(map(numbers.__getitem__, archive))
        # The distances in between stay as they are.
        self._gap.append((held.ends[first] - held.length[first] - self._expected) & WRAP)
        self._gap.extend(held.gap[first + 1 : end])
        self._length.extend(held.length[first:end])
        self._recipe.extend(held.recipe[first:end])
        self._expected = held.ends[end - 1]

    def settle(self, own: ArchiveId, settled: Callable[[int], int]) -> None:
        """Pieces in the archive ``own`` get the offsets that they have now: see SharedData."""
        number = self._archives.get(own)
        if number is None:
            return
        end = expected = 0
        for row, (archive, gap, length) in enumerate(
            zip(self._archive, self._gap, self._length, strict=True)
        ):
            offset = (end + gap) & WRAP
            end = offset + length
            if archive == number:
                offset = settled(offset)
            self._gap[row] = (offset - expected) & WRAP
            expected = offset + length
        self._expected = expected

    def take(self) -> bytes:
        """The encoded columns; empties the gatherer."""
        tables = _Tables()
        marks = [tables.row(mark) for mark in self._marks]
        encoded = cast(
            bytes,
            msgpack.packb(
                {
                    "n": len(self._uid),
                    "uid": columns.pack("I", self._uid),
                    "mark": columns.pack("I", self._mark),
                    "marks": marks,
                    "keywords": list(tables.keywords),
                    "attributes": list(tables.attributes),
                    "date": columns.pack_deltas(self._date),
                    "size": columns.pack("Q", self._size),
                    "name": columns.pack_strings(self._bases),
                    "notes": columns.pack_strings(self._fields) if any(self._fields) else None,
                    "link": columns.pack("Q", self._link) if any(self._link) else None,
                    "digest": bytes(self._digests),
                    "pieces": columns.pack("I", self._counts),
                    "archives": list(self._archives),
                    "archive": columns.pack("H", self._archive),
                    "gap": columns.pack("Q", self._gap),
                    "length": columns.pack("I", self._length),
                    "recipe": columns.pack("H", self._recipe),
                    **({"inode": columns.pack_deltas(self._inode)} if any(self._inode) else {}),
                },
                unicode_errors="surrogateescape",
            ),
        )
        self._clear()
        return encoded


class _Tables:
    """What the marks of a frame point to."""

    def __init__(self) -> None:
        self.keywords: dict[str, int] = {}
        self.attributes: dict[Attributes, int] = {}

    def row(self, mark: _Mark) -> list[object]:
        """A mark as it is encoded."""
        flags, names, values, *notes = mark
        keywords, attributes = self.keywords, self.attributes
        numbers = [keywords.setdefault(name, len(keywords)) for name in names]
        return [flags, numbers, attributes.setdefault(values, len(attributes)) if values else None, notes]


def _text_bytes(message: Message | Listed) -> int:
    """Of its names and notes. Raises StoreError if that is more than a frame takes."""
    text_bytes = len(message.base) + len(message.suffix) + len(message.fields) + len(message.flags)
    if text_bytes > MOST_TEXT_BYTES:
        raise StoreError(f"a message has {text_bytes} bytes of names and notes: beyond the archive format")
    return text_bytes


def _named_bytes(keywords: Sequence[str], attributes: Attributes) -> int:
    """What a mark takes for these, at most. Raises StoreError if that is more than a frame takes."""
    if not keywords and not attributes:
        return 0
    named = sum(4 * len(name) + len(value) + 16 for name, value in attributes)
    named += sum(4 * len(name) + 16 for name in keywords)
    if named > MOST_TEXT_BYTES:
        raise StoreError(f"a message has {named} bytes of keywords and attributes: beyond the archive format")
    return named


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
    return MessageRows(payload).messages()


LOST = MessageColumns().take()
"""The payload of a frame without messages: it stands for one that was lost."""


MOST_LOST_BYTES = 512
"""What the payload of such a frame may come to."""


def is_lost(payload: bytes) -> bool:
    """Whether a MESSAGES frame stands for one that was lost. Raises DamagedError."""
    return len(payload) <= MOST_LOST_BYTES and claims.unpack_map(payload).get("n") == 0


def totals(payload: bytes) -> Totals:
    """Number and sizes of the messages of a MESSAGES frame, without decoding them. Raises DamagedError."""
    return MessageRows(payload).totals


def archives_of(payload: bytes) -> tuple[ArchiveId, ...]:
    """The archives in which pieces of the messages of a MESSAGES frame lie, without decoding them. Raises
    DamagedError."""
    return MessageRows(payload).archives


def names(payload: bytes) -> Names:
    """What the messages of a MESSAGES frame are called: to compare them with a folder, at a small part of the
    cost of decoding them. Raises DamagedError."""
    return MessageRows(payload).names
