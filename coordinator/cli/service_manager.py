"""What a service says to systemd, where that has started it (``Type=notify``)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class ServiceManager:
    """Hears how the service is. Where nobody listens nothing is said; what is started does not speak for
    it."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")  # noqa: TID251 (read at the edge)

    def is_ready(self) -> None:
        """It serves: whoever waits for that may go on."""
        self._say(b"READY=1")

    def is_stopping(self) -> None:
        """It was told to end, and does."""
        self._say(b"STOPPING=1")

    def _say(self, state: bytes) -> None:
        if not self._address:
            return
        place = self._address.encode("utf-8", "surrogateescape")
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            # "@" stands for the namespace of sockets that are no files.
            out.sendto(state, b"\0" + place[1:] if place.startswith(b"@") else place)
