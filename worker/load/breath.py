"""Rests between a worker's work, so that it takes no more of its host than the share that it may have.

A worker that may have a quarter works for a moment and rests for three. So nothing has to be known of how
fast it would be: what it takes of disks, processors and memory while it works is the same, and it takes it
for a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

WORK_NS = 10_000_000
"""It is looked whether to rest when so much time has been worked: what a user meets at most of a worker that
is held back far."""

MOST_REST_NS = 2_000_000_000
"""A worker never stands still for longer than this."""

_NAP_NS = 250_000_000
"""While it rests it looks this often whether it may have more."""


class Shares(Protocol):
    """What is needed of a ``Share``."""

    def at(self, now_ns: int) -> float:
        """See ``Share.at``."""


class Breath:
    """Where one worker stands; ``clock`` and ``sleep`` are the time."""

    def __init__(self, shares: Shares, clock: Callable[[], int], sleep: Callable[[float], None]) -> None:
        self._shares = shares
        self._clock = clock
        self._sleep = sleep
        self._since = clock()

    def take(self) -> None:
        """Rest, if it is time to. To be called often; costs next to nothing. Raises as ``Share.at``."""
        now = self._clock()
        if now - self._since >= WORK_NS:
            self._rest(now)

    def did_wait(self, nanoseconds: int) -> None:
        """So much of the time was spent waiting for something else, and no work."""
        self._since += nanoseconds

    def _rest(self, began: int) -> None:
        worked, now = began - self._since, began
        while True:
            share = self._shares.at(now)
            wanted = min(MOST_REST_NS, round(worked * (1 - share) / share))
            left = began + wanted - now
            if left <= 0:
                break
            self._sleep(min(left, _NAP_NS) / 1e9)
            now = self._clock()
        # What was overslept is rested already for the next time.
        self._since = now + (min(-left, WORK_NS) if share < 1.0 else 0)
