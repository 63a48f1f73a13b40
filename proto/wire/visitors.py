"""Who comes to the door of a server: connections that have not shown a key yet, and those turned away.

Owns the counts and the list of the last strangers; is told what happened, and touches no socket. A monitor
does not say whose handshake it speaks of, so that is concluded from the order of its events: a server with
one I/O thread tells a failure immediately before the end of that connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..structs import Record

_MOST_REMEMBERED = 20


class Stranger(Record, kw_only=True):
    """An attempt that was turned away: when (seconds since 1970), from where (empty if not known), why."""

    time: float
    address: str
    reason: str


class Visitors:
    """``now`` gives the seconds since 1970. Addresses are without the port."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._unknown: dict[int, str] = {}
        self._known: set[int] = set()
        self._failure = ""
        self._last: deque[Stranger] = deque(maxlen=_MOST_REMEMBERED)
        self.refused = 0

    @property
    def connections(self) -> int:
        """How many are in."""
        return len(self._known)

    def last(self) -> tuple[Stranger, ...]:
        """The last ones, oldest first."""
        return tuple(self._last)

    def accepted(self, descriptor: int, address: str) -> None:
        """Somebody has connected."""
        self._known.discard(descriptor)
        self._unknown[descriptor] = address

    def admitted(self, address: str) -> None:
        """Somebody from this address has shown a key that is allowed."""
        descriptor = self._settle(address)
        if descriptor is not None:
            self._known.add(descriptor)

    def turned_away(self, address: str, reason: str) -> None:
        """Somebody from this address has shown a key, and was refused."""
        self._settle(address)
        self._remember(address, reason)

    def failed(self, reason: str) -> None:
        """A handshake has failed, whose connection is closed next."""
        self._failure = reason

    def closed(self, descriptor: int) -> None:
        """A connection has ended."""
        self._known.discard(descriptor)
        address = self._unknown.pop(descriptor, None)
        reason, self._failure = self._failure or "left without a handshake", ""
        if address is not None:
            self._remember(address, reason)

    def _settle(self, address: str) -> int | None:
        """One of those from this address is no stranger any more; which one makes no difference."""
        for descriptor, other in reversed(self._unknown.items()):
            if other == address:
                del self._unknown[descriptor]
                return descriptor
        return None

    def _remember(self, address: str, reason: str) -> None:
        self.refused += 1
        self._last.append(Stranger(time=self._now(), address=address, reason=reason))
