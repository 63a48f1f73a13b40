"""Waking a thread that waits for sockets, from any other thread."""

from __future__ import annotations

import os
import threading


class Waker:
    """A descriptor that can be made readable from any thread, for a thread that waits for sockets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False

    def wake(self) -> None:
        """Make it readable. Without effect when it is closed."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self.descriptor, 1)

    def clear(self) -> bool:
        """Whether it was woken since the last time."""
        try:
            return os.eventfd_read(self.descriptor) > 0
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Repeatable."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self.descriptor)
