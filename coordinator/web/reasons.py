"""Why people look into somebody's mail: asked for once for each session and mailbox."""

from __future__ import annotations

import threading
from collections import OrderedDict

_MOST = 10_000


class Reasons:
    """Who gave which reason, as long as this process lasts. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    def give(self, session: str, name: str, whose: str, reason: str) -> None:
        """Somebody in a session gave a reason for looking into a mailbox."""
        with self._lock:
            self._given[session, name, whose] = reason
            self._given.move_to_end((session, name, whose))
            if len(self._given) > _MOST:
                self._given.popitem(last=False)

    def given(self, session: str, name: str, whose: str) -> str:
        """The reason; empty if none was given yet."""
        with self._lock:
            return self._given.get((session, name, whose), "")
