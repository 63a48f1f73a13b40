"""A folder as it is now against what was stored of it last: which messages are known, and which of the
stored frames hold just what comes next. Deciding only: nothing is read or written here.

Built for folders of a million messages: of each known one a number and its place on a chain are kept, and of
the listing no more than a frame at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Protocol

from ...proto.archive.messages import Names, as_stored
from ...proto.archive.pointers import FramePointer
from ...proto.errors import DamagedError
from ...proto.ports import ListedMessages
from ...proto.records import Listed
from ...proto.structs import Record
from ..packing.dedup import Chains

UNKNOWN = -1
"""The position of a message that is not known."""

FEWEST_ROWS = 16
"""So many messages of a frame are referred to by themselves, fewer written anew with what is beside them."""

_MOST_ROWS = 1 << 13


class SameRows(Record):
    """The messages that come next are ``count`` messages of one stored frame from its ``row`` on, in every
    detail that a listing tells: with ``is_whole`` all of it, else not quite few.

    ``ordinal`` counts the frames of the folder from 0; ``first`` is the position of the first message.
    """

    ordinal: int
    row: int
    count: int
    first: int
    is_whole: bool
    listing: ListedMessages
    at: int

    def listed(self) -> list[Listed]:
        """The records of the messages."""
        return list(map(as_stored, self.listing.some(self.at, self.at + self.count)))

    def as_rows(self) -> Rows:
        """The same messages one by one."""
        return Rows([(listed, self.first + row) for row, listed in enumerate(self.listed())])


class Rows(Record):
    """The messages that come next, each with the position of the known one that has its lasting name, or
    UNKNOWN."""

    rows: list[tuple[Listed, int]]


class StoredNames(Protocol):
    """What was stored of a folder, as ``worker.comparing.known`` has it."""

    frames: tuple[FramePointer, ...]

    def names(self, pointer: FramePointer) -> Names:
        """What the messages of a frame are called. Raises DamagedError."""


class KnownRows:
    """The messages that were stored of a folder, by position: they count on from frame to frame. Those of a
    frame that is damaged are not known, and have no positions."""

    def __init__(self, stored: StoredNames | None) -> None:
        self._stored = stored
        self._starts = array("Q", (0,))  # of the frames looked at so far, and where the next one starts
        self._hashed: tuple[array[int], Chains] | None = None
        self._last: tuple[int, Names | None] = (-1, None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was stored."""
        return self._stored is None or not self._stored.frames

    def place(self, position: int) -> tuple[int, int]:
        """The ordinal of the frame of a position, and the row in it."""
        ordinal = bisect_right(self._starts, position) - 1
        return ordinal, position - self._starts[ordinal]

    def stretches(self, rows: list[tuple[Listed, int]]) -> Iterator[list[tuple[Listed, int]]]:
        """Messages with their positions, in their order, cut where one is not the next of the same frame."""
        begin = expected = left = 0
        for number, (_, position) in enumerate(rows):
            if not left or position != expected:
                if begin < number:
                    yield rows[begin:number]
                begin, left = number, self._left(position)
            expected, left = position + 1, left - 1
        if begin < len(rows):
            yield rows[begin:]

    def size(self, ordinal: int) -> int:
        """How many messages a frame holds in which one was found."""
        return self._starts[ordinal + 1] - self._starts[ordinal]

    def _left(self, position: int) -> int:
        """How many messages of the frame of a position there are from it on; of UNKNOWN, 1."""
        return 1 if position == UNKNOWN else self._starts[self.place(position)[0] + 1] - position

    def frame(self, ordinal: int) -> tuple[int, Names] | None:
        """The position of the first message of a frame, and the names in it; None if there is none such."""
        stored = self._stored
        if stored is None or ordinal >= len(stored.frames):
            return None
        while len(self._starts) <= ordinal + 1:
            names = self._names(len(self._starts) - 1)
            self._starts.append(self._starts[-1] + (len(names) if names else 0))
        names = self._names(ordinal)
        return (self._starts[ordinal], names) if names else None

    def is_at_hand(self, ordinal: int) -> bool:
        """Whether the names of a frame need not be read again."""
        return self._last[0] == ordinal

    def begins(self, base: bytes, ordinal: int) -> int:
        """The position of the first message of a frame if it has this lasting name. UNKNOWN if not, and once
        all that is known had to be gone through: ``find`` tells then. Whether another message has that name,
        too, is not looked at."""
        found = self.frame(ordinal) if self._hashed is None else None
        return found[0] if found is not None and found[1].base[0] == base else UNKNOWN

    def find(self, base: bytes) -> int:
        """The position of the one message with this lasting name; UNKNOWN also if several seem to have it:
        nobody can say which one it is."""
        if self._hashed is None:
            self._hashed = self._all_hashes()
        hashes, chains = self._hashed
        word = hash(base)
        row = chains.heads[word & chains.mask]
        found = UNKNOWN
        while row:
            if hashes[row - 1] == word:
                if found != UNKNOWN:
                    return UNKNOWN
                found = row - 1
            row = chains.following[row]
        return found

    def _all_hashes(self) -> tuple[array[int], Chains]:
        hashes, chains = array("q"), Chains()
        for ordinal in range(len(self._stored.frames) if self._stored else 0):
            found = self.frame(ordinal)
            if found is not None:
                hashes.extend(map(hash, found[1].base))
        chains.rebuild(hashes, len(hashes), len(hashes))
        return hashes, chains

    def _names(self, ordinal: int) -> Names | None:
        if self._last[0] != ordinal:
            try:
                names = self._stored.names(self._stored.frames[ordinal]) if self._stored else None
            except DamagedError:
                names = None
            self._last = ordinal, names
        return self._last[1]


def match(listing: ListedMessages, known: KnownRows) -> Iterator[SameRows | Rows]:
    """The messages of a folder, in their order, in steps."""
    if known.is_empty:
        for at in range(0, len(listing), _MOST_ROWS):
            yield Rows([(as_stored(listed), UNKNOWN) for listed in listing.some(at, at + _MOST_ROWS)])
        return
    rows: list[tuple[Listed, int]] = []
    at = ordinal = expected = 0
    while at < len(listing):
        first = as_stored(listing.some(at, at + 1)[0])
        position = known.begins(first.base, ordinal)
        same = _same_rows(known, position, expected, listing, at)
        if same is None or not same.is_whole:
            position = known.find(first.base)
            same = _same_rows(known, position, expected, listing, at)
        if same is None:
            rows.append((first, position))
            at += 1
            expected = position + 1 if position != UNKNOWN else expected
        else:
            if same.is_whole or same.count >= FEWEST_ROWS:
                if rows:
                    yield Rows(rows)
                    rows = []
                yield same
            else:
                rows += [(one, known.find(one.base)) for one in same.listed()]
            at += same.count
            ordinal, expected = same.ordinal + 1, same.first + same.count
        if len(rows) >= _MOST_ROWS:
            yield Rows(rows)
            rows = []
    if rows:
        yield Rows(rows)


def _same_rows(
    known: KnownRows, position: int, expected: int, listing: ListedMessages, at: int
) -> SameRows | None:
    """The messages from this position on with which the listing goes on. In the middle of a frame that is not
    at hand it is looked for only where messages follow each other as they did: else a folder in another order
    would have a frame read for each message."""
    if position == UNKNOWN:
        return None
    ordinal, row = known.place(position)
    if row and position != expected and not known.is_at_hand(ordinal):
        return None
    found = known.frame(ordinal)
    count = listing.agreeing(at, found[1], row) if found is not None else 0
    if found is None or not count:
        return None
    is_whole = count == len(found[1])
    return SameRows(ordinal, row, count, position, is_whole, listing, at)
