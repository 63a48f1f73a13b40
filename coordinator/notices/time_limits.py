"""Connections that end in time, whatever the other side does: also if it sends a byte now and then."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class TimeLimit:
    """Cuts a connection when its time is over, as a context manager: what waits for it fails then."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_over = False
        self._lock = threading.Lock()
        self._twin: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def connected(self, host: str, port: int) -> socket.socket:
        """A connection that will be cut. Raises OSError."""
        connection = socket.create_connection((host, port), self.seconds)
        with self._lock:
            # A connection of its own for the same stream: TLS takes the other one apart.
            self._twin = connection.dup()
        if self.is_over:
            self._cut()
        return connection

    def _cut(self) -> None:
        self.is_over = True
        with self._lock, suppress(OSError):
            if self._twin is not None:
                self._twin.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> TimeLimit:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._twin is not None:
                self._twin.close()
                self._twin = None
