"""A key that lets one browser of this host in, once: whoever reads the terminal of the program has it."""

from __future__ import annotations

import hmac
import secrets
import threading

from ...proto.ports import Clock

GOOD_SECONDS = 3600.0


class EntryKey:
    """Good for one use, within an hour. For any thread."""

    def __init__(self, text: str, clock: Clock) -> None:
        self.text = text
        self._clock = clock
        self._until = clock.monotonic() + GOOD_SECONDS
        self._lock = threading.Lock()
        self._is_used = False

    @classmethod
    def made(cls, clock: Clock) -> EntryKey:
        """A new one."""
        return cls(secrets.token_urlsafe(24), clock)

    def used(self, text: str) -> bool:
        """Whether this is the key, and it was not used before; it is from now on."""
        if not hmac.compare_digest(text.encode("utf-8", "replace"), self.text.encode("ascii")):
            return False
        with self._lock:
            if self._is_used or self._clock.monotonic() > self._until:
                return False
            self._is_used = True
            return True
