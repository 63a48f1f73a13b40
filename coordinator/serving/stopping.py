"""An operation is asked to stop, whatever it does meanwhile; and where nobody serves it is seen to end: in
order, or after a grace by force."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ...proto.errors import BackupError, UsageError
from ...proto.ports import Clock
from ..clock import utc
from ..service.operations import Operations
from ..service.records import ENDED, UNDER_WAY, Operation
from .aftermath import aftermath
from .files import is_carried_out
from .given_files import forget_given
from .processes import ask_to_end, kill
from .serve_lock import is_served

KILLED_WITHIN_SECONDS = 10.0
"""What is there so long after it was killed hangs in the kernel, and nobody can end it."""

_PAUSE_SECONDS = 0.2


def check_can_stop(operation: Operation) -> None:
    """Raises UsageError for one that has ended, and does not go on."""
    if operation.state in ENDED and operation.state != "interrupted":
        raise UsageError(f"operation {operation.id} has ended: {operation.state}")


def stop(staging: Path, number: int, now: Callable[[], datetime]) -> Operation:
    """Stop an operation; returns it as it is then: one that waited has ended, one that runs is about to.
    Raises NotFoundError, StagingError."""
    queue = Operations(staging)
    while True:
        operation = queue.get(number)
        if operation.state in ("waiting", "interrupted"):
            # Not one whose process has just begun with it.
            if queue.withdraw(number, now()):
                forget_given(staging, number)
                return queue.get(number)
        elif operation.state == "running":
            if queue.stopping(number):
                if not is_served(staging):
                    ask_to_end(staging, operation)
                return queue.get(number)
        else:
            return operation


def see_out(staging: Path, numbers: Collection[int], grace_seconds: float, clock: Clock) -> bool:
    """Wait until operations that were asked to stop have ended. What has not after the grace is killed, and
    that is on record. False if one is still there then, as its process can't be killed. As soon as somebody
    serves the rest is left to that. Raises StagingError, NotFoundError."""
    queue = Operations(staging)
    began = clock.monotonic()
    left = list(numbers)
    for number in left:
        ask_to_end(staging, queue.get(number))  # who was to do so may have ended before
    while not is_served(staging):
        left = [number for number in left if not _has_ended(queue, staging, number, clock)]
        if not left:
            return True
        waited = clock.monotonic() - began
        if waited >= grace_seconds + KILLED_WITHIN_SECONDS:
            return False
        if waited >= grace_seconds:
            for number in left:
                kill(staging, queue.get(number))
        time.sleep(_PAUSE_SECONDS)
    return True


def _has_ended(queue: Operations, staging: Path, number: int, clock: Clock) -> bool:
    """Whether it has; one whose process is gone without a word ends here."""
    operation = queue.get(number)
    if operation.state in UNDER_WAY and not is_carried_out(staging, number):
        after = aftermath(staging, operation)
        error = "it was killed while it stopped" if after.ended is None else after.error
        queue.end(number, after.ended or "stopped", utc(clock.now()), error=error)
        operation = queue.get(number)
    if operation.state in UNDER_WAY:
        return False
    if operation.state != "interrupted":
        forget_given(staging, number)
    return True


class SeenOutBehind:
    """The same for a process that goes on meanwhile: in threads that end with it. For any thread."""

    def __init__(self, staging: Path, grace_seconds: float, clock: Clock) -> None:
        self._staging = staging
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, numbers: Collection[int]) -> None:
        """See ``host_requests.SeenOut``."""
        with self._lock:
            fresh = set(numbers) - self._seen
            self._seen |= fresh
        if fresh:
            threading.Thread(target=self._see_out, args=(fresh,), daemon=True).start()

    def _see_out(self, numbers: set[int]) -> None:
        try:
            with suppress(BackupError):  # it is on record as stopping, and can be asked to stop once more
                see_out(self._staging, numbers, self._grace_seconds, self._clock)
        finally:
            with self._lock:
                self._seen -= numbers
