"""How much room file systems have, asked so that nobody waits for good."""

from __future__ import annotations

import os
import threading
from pathlib import Path

ASK_SECONDS = 10.0


class Rooms:
    """Asks file systems. To be made once by a process: a mount whose server is gone keeps who asks waiting
    for good, and it remembers that somebody does, so that nobody else is kept waiting, too. For any
    thread."""

    def __init__(self, ask_seconds: float = ASK_SECONDS) -> None:
        self._ask_seconds = ask_seconds
        self._asking: dict[Path, threading.Thread] = {}

    def of(self, path: Path) -> tuple[int, int] | None:
        """Total and free bytes of the file system at a path; None if there is nothing, or no answer."""
        before = self._asking.get(path)
        if before is not None and before.is_alive():
            return None
        found: list[tuple[int, int]] = []

        def ask() -> None:
            try:
                room = os.statvfs(path)
            except OSError:
                return
            unit = room.f_frsize
            found.append(((room.f_blocks - room.f_bfree + room.f_bavail) * unit, room.f_bavail * unit))

        thread = self._asking[path] = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(self._ask_seconds)
        return found[0] if found else None
