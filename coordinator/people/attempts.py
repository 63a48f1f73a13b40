"""How often somebody may try to log in: pauses that grow with each failure, by name and by address.

Strangers who try a name keep its owner waiting nowhere but in a browser that is new to them: one in which
they have logged in before (``device``) has failures of its own, and those alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from ...proto.ports import Clock
from ...proto.structs import Record

_FREE = 3
"""So many failures cost no pause."""
_FREE_BY_NAME = 30
"""A name is tried from many addresses: its owner must not be kept out by a few failures of others."""
_LONGEST_SECONDS = 900.0
_FORGOTTEN_SECONDS = 3600.0
_MOST_KNOWN = 10_000
_AT_A_TIME = 4


class _Failures(Record):
    count: int
    last: float


class Attempts:
    """Failures to log in, in memory: those of an hour, and of so many names and addresses at most. For any
    thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_AT_A_TIME)

    @contextmanager
    def trying(self) -> Iterator[bool]:
        """Whether a password may be looked at now: few at a time, so that whoever sends many keeps nobody
        else from the page."""
        may = self._slots.acquire(blocking=False)
        try:
            yield may
        finally:
            if may:
                self._slots.release()

    def pause_seconds(self, name: str, address: str, device: str = "") -> float:
        """How long they have to wait; zero if they may try. ``device`` is what their browser is known by if
        they have logged in there under this name."""
        now = self._clock.monotonic()
        with self._lock:
            return max(self._left(now, key, free) for key, free in _counted(name, address, device))

    def failed(self, name: str, address: str, device: str = "") -> None:
        """They have tried in vain."""
        now = self._clock.monotonic()
        with self._lock:
            for key, _ in _counted(name, address, device):
                known = self._failures.pop(key, None)
                count = 0 if known is None or now - known.last > _FORGOTTEN_SECONDS else known.count
                self._failures[key] = _Failures(count + 1, now)
            while len(self._failures) > _MOST_KNOWN:
                self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """They are who they say: failures from where they are are forgotten. (Those of their browser are,
        too: each log-in makes another device of it.)"""
        with self._lock:
            self._failures.pop(f"from {address}", None)

    def _left(self, now: float, key: str, free: int) -> float:
        known = self._failures.get(key)
        if known is None or known.count < free:
            return 0.0
        pause = min(2.0 ** min(known.count - free, 20), _LONGEST_SECONDS)
        return max(0.0, known.last + pause - now)


def _counted(name: str, address: str, device: str) -> tuple[tuple[str, int], ...]:
    """What a failure counts for, and how many of them cost no pause."""
    if device:
        return ((f"device {device}", _FREE),)
    return ((_of_name(name), _FREE_BY_NAME), (f"from {address}", _FREE))


def _of_name(name: str) -> str:
    """What failures of a name are known by: strangers send names of a megabyte, and thousands of them."""
    return f"name {hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"
