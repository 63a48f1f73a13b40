"""A folder as it is now against what was stored of it last: which messages are known, and which of the
stored frames hold just what comes next. Deciding only: nothing is read or written here.

Built for folders of a million messages: of each known one a number and its place on a chain are kept, and of
the listing no more than a frame at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from ...proto.archive.messages import Names
from ...proto.archive.pointers import FramePointer
from ...proto.errors import DamagedError
from ...proto.records import Listed
from ..packing.dedup import Chains

UNKNOWN = -1
"""The position of a message that is not known."""

_MOST_ROWS = 1 << 13
_LARGEST_UID = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class SameFrame:
    """The messages that come next are those of one stored frame, in every detail that a listing tells.

    ``ordinal`` counts the frames of the folder from 0; ``first`` is the position of its first message.
    """

    ordinal: int
    first: int
    listed: Sequence[Listed]

    def as_rows(self) -> Rows:
        """The same messages one by one."""
        return Rows([(one, self.first + row) for row, one in enumerate(self.listed)])


@dataclass(frozen=True, slots=True)
class Rows:
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
            self._starts.append(self._starts[-1] + (len(names.uid) if names else 0))
        names = self._names(ordinal)
        return (self._starts[ordinal], names) if names and names.uid else None

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
        try:
            return self._stored.names(self._stored.frames[ordinal]) if self._stored else None
        except DamagedError:
            return None


def match(listing: Iterable[Listed], known: KnownRows) -> Iterator[SameFrame | Rows]:
    """The messages of a folder, in their order, in steps."""
    if known.is_empty:
        fresh = map(_as_stored, listing)
        while rows := [(one, UNKNOWN) for one in islice(fresh, _MOST_ROWS)]:
            yield Rows(rows)
        return
    ahead = _Lookahead(listing)
    expected = 0
    rows = []
    while (first := ahead.first()) is not None:
        position = known.begins(first.base, expected)
        same = _same_frame(known, position, ahead)
        if same is None:
            position = known.find(first.base)
            same = _same_frame(known, position, ahead)
        if same is not None:
            if rows:
                yield Rows(rows)
                rows = []
            yield same
            expected = same.ordinal + 1
            continue
        rows.append((ahead.take(), position))
        if len(rows) >= _MOST_ROWS:
            yield Rows(rows)
            rows = []
    if rows:
        yield Rows(rows)


def _same_frame(known: KnownRows, position: int, ahead: _Lookahead) -> SameFrame | None:
    """The frame that begins at this position, if the listing goes on just as it does."""
    if position == UNKNOWN:
        return None
    ordinal, row = known.place(position)
    found = known.frame(ordinal) if row == 0 else None
    if found is None:
        return None
    names = found[1]
    listed = ahead.look(len(names.uid))
    if len(listed) != len(names.uid) or not names.has(0, listed):
        return None
    ahead.skip(len(listed))
    return SameFrame(ordinal, position, listed)


class _Lookahead:
    """A listing of which some of what comes next can be looked at, each message as a frame would hold it."""

    def __init__(self, listing: Iterable[Listed]) -> None:
        self._listing = map(_as_stored, listing)
        self._ahead: deque[Listed] = deque()

    def first(self) -> Listed | None:
        return self._ahead[0] if self._fill(1) else None

    def look(self, count: int) -> list[Listed]:
        self._fill(count)
        return list(islice(self._ahead, count))

    def skip(self, count: int) -> None:
        for _ in range(count):
            self._ahead.popleft()

    def take(self) -> Listed:
        return self._ahead.popleft()

    def _fill(self, count: int) -> bool:
        missing = count - len(self._ahead)
        if missing > 0:
            self._ahead.extend(islice(self._listing, missing))
        return len(self._ahead) >= count


def _as_stored(listed: Listed) -> Listed:
    """As the columns of a frame have it (``MessageColumns.add``), or nothing would ever be found again."""
    if not 0 <= listed.uid <= _LARGEST_UID:
        listed = listed._replace(uid=0)
    if not listed.uid and not listed.base:
        listed = listed._replace(base=listed.suffix, suffix=b"")
    return listed
