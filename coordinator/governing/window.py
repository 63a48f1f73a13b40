"""What was seen in the last minute or so, and what 95 of 100 of that took at most."""

from __future__ import annotations

import math
from collections import deque

PERCENT = 95


class Window:
    """Times in seconds, those of the last ``length_seconds`` by a clock that is told."""

    def __init__(self, length_seconds: float) -> None:
        self._length = length_seconds
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, now: float, seconds: float) -> None:
        """Something took so long."""
        self._seen.append((now, seconds))
        self._forget(now)

    def p95(self, now: float) -> float | None:
        """What 95 of 100 took at most; None if there was nothing."""
        self._forget(now)
        if not self._seen:
            return None
        times = sorted(seconds for _, seconds in self._seen)
        return times[math.ceil(len(times) * PERCENT / 100) - 1]

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[0][0] <= now - self._length:
            self._seen.popleft()
