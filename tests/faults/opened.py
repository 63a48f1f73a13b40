"""How often each message of a store is opened, by whoever it is: what was read twice shows here."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType

_IN_OPEN = 0x20
_IN_Q_OVERFLOW = 0x4000
_IN_ISDIR = 0x40000000
_EVENT = struct.Struct("iIII")
_TURN_SECONDS = 0.1


class OpenedMessages:
    """Counts from the beginning of its block to its end. ``store`` is a directory DOMAIN/USER/Maildir."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._counts: Counter[Path] = Counter()
        self._directories: dict[int, Path] = {}
        self._complete = True
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, name="opened files")

    def __enter__(self) -> OpenedMessages:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0, os.strerror(ctypes.get_errno())
        for place in ("cur", "new"):
            for directory in self._store.rglob(place):
                watch = libc.inotify_add_watch(self._fd, os.fsencode(directory), _IN_OPEN)
                assert watch >= 0, os.strerror(ctypes.get_errno())
                self._directories[watch] = directory.relative_to(self._store)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        os.close(self._fd)

    @property
    def messages(self) -> int:
        """How many different ones were opened."""
        return len(self._counts)

    @property
    def mailboxes(self) -> frozenset[str]:
        """Those that were begun, as USER@DOMAIN."""
        return frozenset(map(_mailbox, list(self._counts)))

    @property
    def repeated(self) -> frozenset[str]:
        """The mailboxes of which a message was opened more than once."""
        assert self._complete, "the kernel had more to tell than was read"
        return frozenset(_mailbox(path) for path, times in list(self._counts.items()) if times > 1)

    def _read(self) -> None:
        ended = False
        while not ended:
            ended = self._end.is_set()  # one more turn, for what has happened by then
            if select.select([self._fd], [], [], _TURN_SECONDS)[0]:
                self._take(os.read(self._fd, 1 << 16))

    def _take(self, events: bytes) -> None:
        at = 0
        while at < len(events):
            watch, mask, _, length = _EVENT.unpack_from(events, at)
            name = events[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if mask & _IN_Q_OVERFLOW:
                self._complete = False
            elif name and not mask & _IN_ISDIR:
                self._counts[self._directories[watch] / os.fsdecode(name)] += 1


def _mailbox(path: Path) -> str:
    domain, user = path.parts[:2]
    return f"{user}@{domain}"
