"""A socket that listens over the network: strangers take no more connections of it than it can spare."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from weakref import WeakKeyDictionary

MOST_OF_EACH = 48
"""A browser takes up to six; several people may come from one address."""
MOST = 220
_REFUSED_AT_ONCE = 100


class BoundedSocket(socket.socket):
    """Takes so many connections at a time, of each address so many (of IPv6: each network of 64 bits), from
    ``proxies`` as many as there are in all. What more comes is closed at once, before anything is read of it.

    Connections count until they are closed, whoever has them by then: also those that never say anything.
    """

    def __init__(self, family: int, kind: int, protocol: int, proxies: Collection[str] = ()) -> None:
        super().__init__(family, kind, protocol)
        self._proxies = frozenset(proxies)
        self._taken: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()
        self.most_of_each = MOST_OF_EACH
        self.most = MOST

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection that there is room for. Raises OSError as usual, and BlockingIOError where
        many were closed in a row: others in the same thread come first then."""
        for _ in range(_REFUSED_AT_ONCE):
            accepted, place = super().accept()
            whence = _network(place[0])
            if self._has_room_for(whence, place[0]):
                self._taken[accepted] = whence
                return accepted, place
            accepted.close()
        raise BlockingIOError

    def _has_room_for(self, whence: str, address: str) -> bool:
        taken = [of for one, of in list(self._taken.items()) if one.fileno() >= 0]
        return len(taken) < self.most and (
            address in self._proxies or taken.count(whence) < self.most_of_each
        )


def _network(address: str) -> str:
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
