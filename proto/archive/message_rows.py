"""The messages of one MESSAGES frame by columns, as they are encoded: what can be asked of them without an
object for each. Every claim of a frame is checked before it is used. FORMAT.md, "MESSAGES".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from operator import add, or_
from typing import NamedTuple, TypeVar

from ..errors import DamagedError
from ..records import DIGEST_BYTES, ArchiveId, Attributes, Listed, Message, Ownership, Piece
from . import claims, columns

MOST_MESSAGES = 1 << 12
"""Messages in one frame: what is lost with it, and in memory at a time, however large a folder is."""

JOINED = 0x8000
"""In the column of recipes: the piece is joined to the one before it."""

WRAP = (1 << 64) - 1
"""Distances between pieces, and between dates, are modulo 2**64."""

LARGEST_UID = (1 << 32) - 1
"""A UID beyond it is stored as 0: not known."""

_T = TypeVar("_T")


class Totals(NamedTuple):
    """What the messages of a frame come to."""

    messages: int
    size_bytes: int


class Told(NamedTuple):
    """What a pointer tells of some messages (``FramePointer``)."""

    messages: int
    size_bytes: int
    low_uid: int
    high_uid: int
    data: tuple[ArchiveId, ...]


class Mark(NamedTuple):
    """What most messages of a frame share; it stands there once."""

    flags: str
    keywords: tuple[str, ...]
    attributes: Attributes
    place: str
    suffix: bytes
    owner: Ownership


class Names:
    """What the messages of a frame are called, and how they are marked, by columns: as much as a listing of
    their folder tells, and whose they are. ``mark`` says which of the ``marks`` each has."""

    def __init__(
        self,
        *,
        uid: Sequence[int],
        base: Sequence[bytes],
        fields: Sequence[bytes],
        inode: Sequence[int],
        mark: Sequence[int],
        marks: Sequence[Mark],
    ) -> None:
        self.uid = uid
        self.base = base
        self.fields = fields
        self.inode = inode
        self.mark = mark
        self.marks = marks

    def __len__(self) -> int:
        return len(self.uid)

    def part(self, first: int, end: int) -> Names:
        """Those of the messages from row ``first`` on, up to ``end``."""
        return Names(
            uid=self.uid[first:end],
            base=self.base[first:end],
            fields=self.fields[first:end],
            inode=self.inode[first:end],
            mark=self.mark[first:end],
            marks=self.marks,
        )

    @cached_property
    def suffix(self) -> Sequence[bytes]:
        """What the store had appended to the name of each."""
        return self._of_each([mark.suffix for mark in self.marks])

    @cached_property
    def place(self) -> Sequence[str]:
        """The sub-directory that each lay in."""
        return self._of_each([mark.place for mark in self.marks])

    @cached_property
    def flags(self) -> Sequence[str]:
        """The flags of each."""
        return self._of_each([mark.flags for mark in self.marks])

    @cached_property
    def keywords(self) -> Sequence[tuple[str, ...]]:
        """The keywords of each."""
        return self._of_each([mark.keywords for mark in self.marks])

    @cached_property
    def owner(self) -> Sequence[Ownership]:
        """Whose each is."""
        return self._of_each([mark.owner for mark in self.marks])

    @cached_property
    def attributes(self) -> Sequence[Attributes]:
        """The extended attributes of each."""
        return self._of_each([mark.attributes for mark in self.marks])

    def has(self, first: int, listed: Sequence[Listed]) -> bool:
        """Whether the messages from row ``first`` on are called just as these, in every detail, and are the
        same files."""
        return first + len(listed) <= len(self) and self.agreeing(first, listed) == len(listed)

    def agreeing(self, first: int, listed: Iterable[Listed]) -> int:
        """How many of these are called, one after the other, just as the messages from row ``first`` on, in
        every detail, and are the same files."""
        count = 0
        rows = range(first, len(self))
        for row, one in zip(rows, listed, strict=False):
            mark = self.marks[self.mark[row]]
            if (
                (one.base, one.uid, one.inode) != (self.base[row], self.uid[row], self.inode[row])
                or (one.suffix, one.place, one.flags) != (mark.suffix, mark.place, mark.flags)
                or (one.fields, one.keywords) != (self.fields[row], mark.keywords)
            ):
                break
            count += 1
        return count

    def _of_each(self, column: Sequence[_T]) -> Sequence[_T]:
        return list(map(column.__getitem__, self.mark))


def as_stored(listed: Listed) -> Listed:
    """As the columns of a frame have it (``MessageColumns.add``), or nothing would ever be found again."""
    if not 0 <= listed.uid <= LARGEST_UID:
        listed = listed._replace(uid=0)
    if not listed.uid and not listed.base:
        listed = listed._replace(base=listed.suffix, suffix=b"")
    return listed


class Contents(NamedTuple):
    """What the messages of a frame hold, by columns. Those of message ``i`` are the pieces from ``starts[i]``
    to ``starts[i + 1]``; ``gap`` is the distance of each from the end of the one before it, and ``ends`` is
    where it ends, both modulo 2**64."""

    date: Sequence[int]
    digests: bytes
    link: Sequence[int]
    starts: Sequence[int]
    archive: Sequence[int]
    gap: Sequence[int]
    length: Sequence[int]
    recipe: Sequence[int]
    ends: Sequence[int]


class MessageRows:
    """The payload of a MESSAGES frame. Whatever is asked for first may raise DamagedError, if the frame
    contradicts itself there."""

    def __init__(self, payload: bytes) -> None:
        self._row: Mapping[str, object] = claims.unpack_map(payload)
        count = claims.number(self._row.get("n"))
        if count > MOST_MESSAGES:
            raise DamagedError(f"a frame of {count} messages is not possible", reason="metadata")
        self._count = count

    def __len__(self) -> int:
        return self._count

    def part(self, first: int, count: int) -> MessageRows:
        """So many messages from row ``first`` on, as if there were no others. Raises DamagedError if there
        are not so many."""
        if (first, count) == (0, self._count):
            return self
        end = first + count
        if end > self._count:
            raise DamagedError(f"{self._count} messages where {end} should be", reason="metadata")
        return _Part(self, first, end)

    def told(self, first: int, count: int) -> Told:
        """What there is to be told of so many messages from row ``first`` on."""
        end = first + count
        uids, held = self.names.uid[first:end], self.contents
        used = dict.fromkeys(held.archive[held.starts[first] : held.starts[end]])
        return Told(
            messages=count,
            size_bytes=sum(self.sizes[first:end]),
            low_uid=min(filter(None, uids), default=0),
            high_uid=max(uids, default=0),
            data=tuple(self.archives[one] for one in used),
        )

    @property
    def totals(self) -> Totals:
        """Number and sizes of the messages."""
        return Totals(self._count, sum(self.sizes))

    @cached_property
    def sizes(self) -> Sequence[int]:
        """The size of each."""
        size = columns.unpack("Q", self._row.get("size"), self._count, "size")
        if size and max(size) >= 1 << 63:
            raise DamagedError("a message can't be that large", reason="metadata")
        return size

    @cached_property
    def archives(self) -> tuple[ArchiveId, ...]:
        """The archives in which their pieces lie."""
        return tuple(map(claims.archive_id, claims.rows(self._row.get("archives"))))

    @cached_property
    def names(self) -> Names:
        """What each is called."""
        row, count = self._row, self._count
        uid = columns.unpack("I", row.get("uid"), count, "uid")
        base = columns.unpack_strings(row.get("name"), count, "name")
        fields: Sequence[bytes] = [b""] * count
        if row.get("notes") is not None:
            fields = columns.unpack_strings(row["notes"], count, "notes")
        if not all(map(or_, uid, map(len, base))):
            raise DamagedError("a message has neither UID nor name", reason="metadata")
        inode: Sequence[int] = (0,) * count
        if row.get("inode") is not None:
            inode = columns.unpack_deltas(row["inode"], count, "inode")
        marks = self._marks()
        mark = columns.unpack("I", row.get("mark"), count, "mark")
        if count and max(mark) >= len(marks):
            raise DamagedError("column mark points nowhere", reason="metadata")
        return Names(uid=uid, base=base, fields=fields, inode=inode, mark=mark, marks=marks)

    def _marks(self) -> list[Mark]:
        keywords = list(map(claims.name, claims.rows(self._row.get("keywords"))))
        attributes = list(map(claims.attributes, claims.rows(self._row.get("attributes"))))
        try:
            return [_mark(mark, keywords, attributes) for mark in claims.rows(self._row.get("marks"))]
        except (IndexError, TypeError, ValueError) as error:
            raise DamagedError(f"not a mark: {claims.shown(error)}", reason="metadata") from error

    @cached_property
    def contents(self) -> Contents:
        """What each holds."""
        row, count = self._row, self._count
        date = columns.unpack_deltas(row.get("date"), count, "date", signed=True)
        digests = claims.octets(row.get("digest"))
        if len(digests) != count * DIGEST_BYTES:
            raise DamagedError("column digest has a wrong length", reason="metadata")
        link: Sequence[int] = (0,) * count
        if row.get("link") is not None:
            link = columns.unpack("Q", row["link"], count, "link")
        starts = list(accumulate(columns.unpack("I", row.get("pieces"), count, "pieces"), initial=0))
        total = starts[-1]
        archive = columns.unpack("H", row.get("archive"), total, "archive")
        if total and max(archive) >= len(self.archives):
            raise DamagedError("column archive points nowhere", reason="metadata")
        gap = columns.unpack("Q", row.get("gap"), total, "gap")
        length = columns.unpack("I", row.get("length"), total, "length")
        recipe = columns.unpack("H", row.get("recipe"), total, "recipe")
        ends = list(accumulate(map(add, gap, length)))
        return Contents(date, digests, link, starts, archive, gap, length, recipe, ends)

    @property
    def has_links(self) -> bool:
        """Whether the frame says of any message that it is a name of a file with several."""
        return self._row.get("link") is not None

    def linked(self) -> list[tuple[bytes, int]]:
        """Of each message that is a name of a file with several, what tells that file from others, and its
        size. Raises DamagedError."""
        if not self.has_links:
            return []
        digests = self.contents.digests
        return [
            (
                link.to_bytes(8, "little") + digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES],
                self.sizes[at],
            )
            for at, link in enumerate(self.contents.link)
            if link
        ]

    def check(self) -> None:
        """Raises what anything else here but ``messages`` would; nothing of these does after it."""
        _ = self.names, self.sizes, self.contents

    def messages(self) -> list[Message]:
        """All of them as records."""
        called, size, held = self.names, self.sizes, self.contents
        pieces = self._pieces()
        offset = held.starts[0]
        return [
            Message(
                called.uid[i],
                called.base[i],
                called.suffix[i],
                called.place[i],
                called.flags[i],
                called.fields[i],
                held.date[i],
                called.owner[i],
                size[i],
                held.digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES],
                tuple(pieces[held.starts[i] - offset : held.starts[i + 1] - offset]),
                called.keywords[i],
                called.attributes[i],
                held.link[i],
                called.inode[i],
            )
            for i in range(self._count)
        ]

    def _pieces(self) -> list[Piece]:
        held, archives = self.contents, self.archives
        those = slice(held.starts[0], held.starts[-1])
        return [
            claims.piece(
                archives[archive], (end - length) & WRAP, length, recipe & ~JOINED, bool(recipe & JOINED)
            )
            for archive, end, length, recipe in zip(
                held.archive[those], held.ends[those], held.length[those], held.recipe[those], strict=True
            )
        ]


class _Part(MessageRows):
    """Some of the messages of a frame that stand there in a row."""

    def __init__(self, whole: MessageRows, first: int, end: int) -> None:
        self._whole = whole
        self._first = first
        self._end = end
        self._count = end - first

    @property
    def has_links(self) -> bool:
        return self._whole.has_links

    @cached_property
    def sizes(self) -> Sequence[int]:
        return self._whole.sizes[self._first : self._end]

    @cached_property
    def archives(self) -> tuple[ArchiveId, ...]:
        return self._whole.archives

    @cached_property
    def names(self) -> Names:
        return self._whole.names.part(self._first, self._end)

    @cached_property
    def contents(self) -> Contents:
        held = self._whole.contents
        return held._replace(
            date=held.date[self._first : self._end],
            digests=held.digests[self._first * DIGEST_BYTES : self._end * DIGEST_BYTES],
            link=held.link[self._first : self._end],
            starts=held.starts[self._first : self._end + 1],
        )


def _mark(value: object, keywords: Sequence[str], attributes: Sequence[Attributes]) -> Mark:
    """Raises IndexError, TypeError or ValueError if it is none, or points nowhere."""
    flags, numbers, named, notes = claims.rows(value)
    place, suffix, mode, uid, gid = claims.rows(notes)
    return Mark(
        claims.text(flags),
        tuple(keywords[claims.number(row)] for row in claims.rows(numbers)),
        () if named is None else attributes[claims.number(named)],
        claims.text(place),
        claims.octets(suffix),
        claims.ownership(mode, uid, gid),
    )
