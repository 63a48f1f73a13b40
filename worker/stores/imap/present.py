"""Messages that are in a folder already: a message that is to be sent is looked for among them.

What decides are the bytes (see ``likeness``), not the Message-ID: copies of one mail that came different ways
have that in common, and often the size, too. Only messages of the right size are read; where one after the
other is found, as when a restore is run again, the next ones are read with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from .fetching import Content, chunks, contents, large_content, sizes
from .session import Session

_WINDOW_BYTES = 4 << 20
_WINDOW_MESSAGES = 256
_MOST_SIZES = 1000
_GONE = Content(b"", b"")


class Wanted(Protocol):
    """What is known of a message that is looked for; see ``Outgoing``."""

    @property
    def size(self) -> int: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def likeness(self) -> bytes: ...
    @property
    def stray_returns(self) -> int: ...


class Present:
    """Each message is found once: of two that are the same, the second is another one."""

    def __init__(self, session: Session, folder: str, uids: Sequence[int]) -> None:
        self._session = session
        self._folder = folder
        self._sizes: dict[int, int] = {}
        for chunk in chunks(uids):
            self._sizes |= session.ask_in(folder, partial(sizes, uids=chunk))
        self._uids = sorted(self._sizes)
        self._places = {uid: place for place, uid in enumerate(self._uids)}
        self._by_size: dict[int, list[int]] = {}
        for uid in self._uids:
            self._by_size.setdefault(self._sizes[uid], []).append(uid)
        self._contents: dict[int, Content] = {}
        self._ahead = 1

    def __len__(self) -> int:
        return len(self._uids)

    def digests(self, uids: Sequence[int]) -> dict[int, bytes]:
        """The digests of messages, by UID."""
        there = [uid for uid in uids if uid in self._sizes]
        self._read(there)
        return {uid: self._contents[uid].digest for uid in there}

    def take(self, wanted: Wanted) -> int | None:
        """The UID of this message, if it is there."""
        # A server may have taken a CR out of each line, but nothing else that changes the size.
        alike = [
            uid
            for size in range(wanted.size, wanted.size - min(wanted.stray_returns, _MOST_SIZES) - 1, -1)
            for uid in self._by_size.get(size, ())
        ]
        if not alike:
            return None
        self._read([uid for uid in alike if uid not in self._contents])
        uid = self._same(wanted, alike)
        self._ahead = 1 if uid is None else min(2 * self._ahead, _WINDOW_MESSAGES)
        if uid is not None:
            self._by_size[self._sizes[uid]].remove(uid)
        return uid

    def _same(self, wanted: Wanted, alike: Sequence[int]) -> int | None:
        exactly = [uid for uid in alike if self._contents[uid].digest == wanted.digest]
        nearly = (uid for uid in alike if self._contents[uid].likeness == wanted.likeness)
        return exactly[0] if exactly else next(nearly, None)

    def _read(self, wanted: Sequence[int]) -> None:
        """Read these, and what is expected to be asked for next."""
        for window in self._windows(wanted):
            if len(window) == 1 and self._sizes[window[0]] > _WINDOW_BYTES:
                uid, size = window[0], self._sizes[window[0]]
                found = {uid: self._session.ask_in(self._folder, partial(large_content, uid=uid, size=size))}
            else:
                found = self._session.ask_in(self._folder, partial(contents, uids=window))
            # What somebody has removed meanwhile is like nothing.
            self._contents |= dict.fromkeys(window, _GONE) | found

    def _windows(self, wanted: Sequence[int]) -> Iterator[list[int]]:
        window: list[int] = []
        size = 0
        for uid in [*wanted, *self._next(wanted)]:
            if window and (size + self._sizes[uid] > _WINDOW_BYTES or len(window) >= _WINDOW_MESSAGES):
                yield window
                window, size = [], 0
            window.append(uid)
            size += self._sizes[uid]
        if window:
            yield window

    def _next(self, wanted: Sequence[int]) -> Iterator[int]:
        """What follows the last one that is wanted, as far as it is small."""
        if not wanted:
            return
        place = self._places[wanted[-1]] + 1
        size = 0
        for uid in self._uids[place : place + self._ahead - 1]:
            size += self._sizes[uid]
            if size > _WINDOW_BYTES:
                return
            if uid not in self._contents:
                yield uid
