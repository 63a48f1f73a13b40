"""The room on the file system of a staging area: a reserve stays free, and writers wait for room.

A full file system is a state that passes, not an error of the archive that is being written: whoever finds
no room waits, and goes on where it was.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...proto.errors import StagingError
from ...proto.structs import Record

FULL = "the staging area is full"
"""What a writer says that it waits for."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_MEASURED_SECONDS = 0.5
_UNMEASURED_BYTES = 16 << 20
_RETRY_SECONDS = 1.0


class Room(Record, kw_only=True):
    """What a file system has, and how much of it writers may still take."""

    free_bytes: int
    total_bytes: int
    available_bytes: int


class Space:
    """The file system on which ``path`` lies, of which ``reserve_bytes`` stay free. May be shared by threads.

    The reserve is kept to within the 16 MiB (a quarter of what is left, when that is less) that each
    ``Space`` may hand out without looking again.

    ``lack`` says why there was no room when there was none: ENOSPC, or EDQUOT, which only a write meets.
    """

    def __init__(
        self,
        path: Path,
        reserve_bytes: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.path = path
        self.reserve_bytes = reserve_bytes
        self.lack = errno.ENOSPC
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._unmeasured = 0
        self._measure_at = 0.0
        self._closed_until = 0.0

    def room(self) -> Room:
        """Ask the file system. Raises StagingError if it can't be asked."""
        try:
            found = os.statvfs(self.path)
        except OSError as error:
            raise StagingError(
                f"can't ask for the room in {self.path}: {error.strerror}",
                path=str(self.path),
                errno=error.errno,
            ) from error
        free = found.f_bavail * found.f_frsize
        return Room(
            free_bytes=free,
            total_bytes=found.f_blocks * found.f_frsize,
            available_bytes=max(0, free - self.reserve_bytes),
        )

    def room_for(self, size_bytes: int) -> bool:
        """Whether so many bytes may be written now; they count as taken then. Cheap: the file system is asked
        twice a second at most, while there is plenty. Raises StagingError if it can't be asked."""
        with self._lock:
            now = self._clock()
            if size_bytes <= self._unmeasured and now < self._measure_at:
                self._unmeasured -= size_bytes
                return True
            if now < self._closed_until:
                return False
            available = self.room().available_bytes - size_bytes
            self._unmeasured = min(_UNMEASURED_BYTES, max(0, available) // 4)
            self._measure_at = now + _MEASURED_SECONDS
            if available < 0:
                self.lack = errno.ENOSPC
            return available >= 0

    def ran_out(self, lack: int) -> None:
        """A write found no room although there seemed to be some (a quota, another program), and was refused
        with this number: ``room_for`` says no for a second."""
        with self._lock:
            self.lack = lack
            self._unmeasured = 0
            self._closed_until = self._clock() + _RETRY_SECONDS

    def wait_for(self, size_bytes: int, patience_seconds: float, on_wait: Callable[[str], object]) -> None:
        """Take so many bytes, waiting for them for up to ``patience_seconds``.

        Only if it has to wait, ``on_wait`` is called: with ``FULL`` when it begins, and about once a second
        as long as it lasts, and with "" when there is room. Raises StagingError (``errno``: ``lack``) when
        the patience is over.
        """
        until = self._clock() + patience_seconds
        waited = False
        try:
            while not self.room_for(size_bytes):
                if self._clock() >= until:
                    raise no_room(self.path, patience_seconds, self.lack)
                waited = True
                on_wait(FULL)
                self._sleep(min(_RETRY_SECONDS, max(0.0, until - self._clock())))
        finally:
            if waited:
                on_wait("")


def no_room(path: Path | str, patience_seconds: float, lack: int) -> StagingError:
    """There was no room for all of the patience; ``lack``: see ``Space``."""
    waited = f", also not within {patience_seconds:g} s" if patience_seconds else ""
    return StagingError(f"can't write {path}: {os.strerror(lack)}{waited}", path=str(path), errno=lack)


def lack_of(error: StagingError) -> int:
    """What a write lacked that met this error (see ``Space``); 0 if it did not fail for want of room."""
    return next((one for one in _NO_ROOM if one == error.facts.get("errno")), 0)
