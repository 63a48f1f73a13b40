"""The clients of the receiver: who has greeted it, when each was heard from last, who watches."""

from __future__ import annotations

from collections.abc import Iterator

from ...proto.structs import Mutable
from ...proto.wire.envelopes import VERSION, Hello


class _Client(Mutable):
    host: str
    heard: float
    watches: bool = False


class Clients:
    """A client that was not heard from for ``lease_seconds`` is gone."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._clients: dict[bytes, _Client] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def greeted(self, client: bytes, host: str, hello: Hello, now: float) -> str:
        """A client wants to be let in; why not, or nothing. It may greet again."""
        if hello.version != VERSION:
            return f"the receiver speaks version {VERSION}, not {hello.version}"
        if hello.host != host:
            return f"this is the key of {host}, not of {hello.host}"
        self._clients.setdefault(client, _Client(host, now)).heard = now
        return ""

    def heard(self, client: bytes, now: float) -> bool:
        """A client was heard from; False if it has not greeted."""
        known = self._clients.get(client)
        if known is None:
            return False
        known.heard = now
        return True

    def watch(self, client: bytes) -> None:
        """It wants to know what others tell."""
        self._clients[client].watches = True

    def watchers(self) -> Iterator[bytes]:
        """Those that want to know what others tell."""
        return (client for client, known in self._clients.items() if known.watches)

    def forget_silent(self, now: float) -> list[bytes]:
        """Those that are gone; they have to greet again."""
        gone = [client for client, known in self._clients.items() if now - known.heard > self._lease_seconds]
        for client in gone:
            del self._clients[client]
        return gone
