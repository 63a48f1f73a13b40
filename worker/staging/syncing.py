"""Making files durable in the background, so that whoever writes them never waits for the disk.

Owns when a file is synced; how that is done, and what its failure means, is the file's business.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

PAUSE_SECONDS = 1.0
"""A file is not synced again earlier than this after the last time: a mailbox takes much less than a sync."""


class Syncable(Protocol):
    """A file that can be made durable."""

    def sync(self) -> None:
        """Make durable what is written by now. Called in a thread of the Syncer; must not raise."""


class Syncer:
    """Syncs files one after the other, each at once when it is asked for, but again only ``pause_seconds``
    later: what is asked for meanwhile comes to one sync. May be shared by files and by threads.

    Its thread runs only while something is due, and does not keep the program from ending.
    """

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._changed = threading.Condition()
        self._due: dict[Syncable, float] = {}
        self._synced: dict[Syncable, float] = {}
        self._current: Syncable | None = None
        self._running = False

    def ask(self, file: Syncable) -> None:
        """Sync a file soon. Does not wait."""
        with self._changed:
            if file in self._due:
                return
            synced = self._synced.get(file)
            self._due[file] = 0.0 if synced is None else synced + self._pause_seconds
            if self._running:
                self._changed.notify_all()
            else:
                self._running = True
                threading.Thread(target=self._run, name="sync", daemon=True).start()

    def forget(self, file: Syncable) -> None:
        """Do not touch a file any more; returns when no sync of it goes on."""
        with self._changed:
            self._due.pop(file, None)
            self._changed.notify_all()
            while self._current is file:
                self._changed.wait()
            self._synced.pop(file, None)

    def _run(self) -> None:
        while (file := self._next()) is not None:
            file.sync()
            with self._changed:
                self._current = None
                self._synced[file] = time.monotonic()
                self._changed.notify_all()

    def _next(self) -> Syncable | None:
        """The file that is to be synced now; waits for it. None, and the thread ends, if nothing is due."""
        with self._changed:
            while self._due:
                file = min(self._due, key=self._due.__getitem__)
                left = self._due[file] - time.monotonic()
                if left <= 0:
                    del self._due[file]
                    self._current = file
                    return file
                self._changed.wait(left)
            self._running = False
            return None
