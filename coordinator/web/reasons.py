"""Why people look into somebody's mail: asked for once for each session and mailbox."""

from __future__ import annotations

import threading
from collections import OrderedDict

_MOST = 10_000
_LASTS_SECONDS = 12 * 3600.0
"""The longest that a session lasts; for those that have no end, the time after which it is asked again."""


class Reasons:
    """Who gave which reason, as long as this process lasts. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()

    def give(self, session: str, name: str, whose: str, reason: str, now: float) -> None:
        """Somebody in a session gave a reason for looking into a mailbox, at that time (in seconds)."""
        with self._lock:
            self._given[session, name, whose] = reason, now
            self._given.move_to_end((session, name, whose))
            if len(self._given) > _MOST:
                self._given.popitem(last=False)

    def given(self, session: str, name: str, whose: str, now: float) -> str:
        """The reason; empty if none was given yet, or that was too long ago."""
        with self._lock:
            reason, when = self._given.get((session, name, whose), ("", now))
            return reason if now - when < _LASTS_SECONDS else ""
