"""How new the messages of a folder are, so that the newest can come back first.

UIDs say in which order the messages came into their folder, dates only how long ago that was about: a message
that was moved here keeps its date. So a slice takes as many messages as are that new by their dates, but
those that came last, by their UIDs. Slices that follow one another then go down in UIDs, as a folder takes
them whose old UIDs were kept free (``stores.reserved_uids``).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, compress

from ..proto.archive.mailboxes import FolderEntry
from ..proto.archive.message_rows import MessageRows
from ..proto.archive.stored import StoredMailbox, StoredRows
from ..proto.errors import DamagedError
from ..proto.records import Message
from ..proto.structs import Record

_WITHOUT_UID = 1 << 32
"""Such messages came last: the server has not looked at them yet."""

_NOBODY = _WITHOUT_UID + 1


class Slice(Record, kw_only=True):
    """The messages of a time: from ``since_ns`` on (None: from the first) until before ``until_ns`` (None: to
    the last), in nanoseconds since 1970."""

    since_ns: int | None = None
    until_ns: int | None = None


class Arrivals:
    """The messages of one folder by when they came. A folder with keywords that no letter stands for counts
    as new as a whole: only the index of the server can hold these, and it is written anew for each slice."""

    def __init__(self, stored: StoredMailbox, folder: FolderEntry) -> None:
        self._folder = folder
        self._frames: list[StoredRows] = []
        self._damage: DamagedError | None = None
        self._lost = 0
        self._undivided = False
        self.last_seen_ns = 0
        """The date of the newest message that somebody has seen; 0 if there is none."""
        keys = array("Q")
        self._dates = array("q")
        lettered = frozenset(folder.folder.keywords)
        for frame in stored.frames(folder):
            try:
                self._take(frame, keys, lettered)
            except DamagedError as error:
                self._lost += frame.pointer.messages
                self._damage = self._damage or error
        self._keys: Sequence[int] = sorted(keys, reverse=True)

    def _take(self, frame: StoredRows, keys: array[int], lettered: frozenset[str]) -> None:
        rows = frame.by_columns()
        names, dates = rows.names, rows.contents.date
        seen = compress(dates, ["S" in flag for flag in names.flags])
        self._frames.append(frame)
        keys.extend(_keys(rows))
        self._dates.extend(dates)
        self.last_seen_ns = max(self.last_seen_ns, *seen, 0)
        self._undivided |= not lettered.issuperset(chain.from_iterable(set(names.keywords)))

    def amount(self, slice_: Slice) -> tuple[int, int]:
        """How many messages a slice has, and how many bytes."""
        low, high = self._range(slice_)
        messages = size_bytes = 0
        for frame in self._frames:
            rows = frame.by_columns()
            sizes = [size for key, size in zip(_keys(rows), rows.sizes, strict=True) if low <= key < high]
            messages += len(sizes)
            size_bytes += sum(sizes)
        return messages, size_bytes

    def has(self, slice_: Slice) -> bool:
        """Whether a slice has messages; or, for the one with the first, is to tell what is damaged."""
        low, high = self._range(slice_)
        return any(low <= key < high for key in self._keys) or self._tells_damage(slice_)

    def messages(self, slice_: Slice) -> Iterator[Message]:
        """The messages of a slice, a frame of them in memory at a time. What is damaged is left out;
        DamagedError is raised after the last message of the slice with the first, then."""
        low, high = self._range(slice_)
        for frame in self._frames:
            chosen = [low <= key < high for key in _keys(frame.by_columns())]
            if any(chosen):
                yield from compress(frame.messages(), chosen)
        if self._tells_damage(slice_):
            raise DamagedError(
                f"{self._lost} of {self._folder.messages} messages of the folder are lost: {self._damage}",
                reason="metadata",
            )

    def _tells_damage(self, slice_: Slice) -> bool:
        return self._damage is not None and slice_.since_ns is None

    def _range(self, slice_: Slice) -> tuple[int, int]:
        """From which key on, until before which."""
        low = 0 if slice_.since_ns is None else self._least_since(slice_.since_ns)
        high = _NOBODY if slice_.until_ns is None else self._least_since(slice_.until_ns)
        return low, high

    def _least_since(self, time_ns: int) -> int:
        if self._undivided:
            return 0
        newer = sum(date >= time_ns for date in self._dates)
        return self._keys[newer - 1] if newer else _NOBODY


def _keys(rows: MessageRows) -> list[int]:
    return [uid or _WITHOUT_UID for uid in rows.names.uid]
