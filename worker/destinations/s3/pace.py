"""How many requests a second a server is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """Lets so many through a second, of all threads together; 0 for no limit. Who was idle may do at once
    what a second allows."""

    def __init__(
        self,
        per_second: int,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_second = per_second
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0

    def spend(self) -> None:
        """Wait until it is this one's turn."""
        if not self._per_second:
            return
        with self._lock:
            now = self._now()
            self._next = max(self._next, now - 1) + 1 / self._per_second
            wait = self._next - now
        if wait > 0:
            self._sleep(wait)
