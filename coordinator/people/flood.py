"""Refusals of people who are not known, so many that they would fill the disk: some are counted alone."""

from __future__ import annotations

import threading

from ...proto.ports import Clock

_A_MINUTE = 60
_SECONDS = 60.0


class Flood:
    """Lets so many a minute through. For any thread."""

    def __init__(self, clock: Clock, most: int = _A_MINUTE) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._begun = clock.monotonic()
        self._let_through = 0
        self._left_out = 0

    def passed(self) -> int | None:
        """Whether the next is let through: then how many were left out since the last one that was; else
        None."""
        with self._lock:
            now = self._clock.monotonic()
            if now - self._begun >= _SECONDS:
                self._begun, self._let_through = now, 0
            if self._let_through >= self._most:
                self._left_out += 1
                return None
            self._let_through += 1
            left_out, self._left_out = self._left_out, 0
            return left_out
