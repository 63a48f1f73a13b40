"""The connections of this process: one to each receiver, however many archives it writes and reads there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ...proto.structs import Mutable
from ...proto.wire.client import Client
from ...proto.wire.keys import read_pair
from .area import ReceiverAddress
from .connection import Connection

_Key = tuple[int, ReceiverAddress, str, float]


class _Shared(Mutable):
    connection: Connection
    users: int


_lock = threading.Lock()
_shared: dict[_Key, _Shared] = {}


class SharedConnection:
    """A share of the connection of ``host`` to a receiver, which is closed with the last share.

    Raises AccessError if there is no key pair of that name.
    """

    def __init__(self, address: ReceiverAddress, host: str, lease_seconds: float) -> None:
        # A forked process has none of the threads of its parent: what it inherits is of no use to it.
        self._key: _Key | None = (os.getpid(), address, host, lease_seconds)
        with _lock:
            shared = _shared.get(self._key)
            if shared is None:
                shared = _shared[self._key] = _Shared(_connect(address, host, lease_seconds), 0)
            shared.users += 1
            self.connection = shared.connection

    def close(self) -> None:
        """Repeatable."""
        with _lock:
            key, self._key = self._key, None
            if key is None:
                return
            shared = _shared[key]
            shared.users -= 1
            if shared.users:
                return
            del _shared[key]
        self.connection.close()


def _connect(address: ReceiverAddress, host: str, lease_seconds: float) -> Connection:
    keys = read_pair(Path(address.keys), host)
    return Connection(Client(address.endpoint, keys, address.server_key), host, lease_seconds)
