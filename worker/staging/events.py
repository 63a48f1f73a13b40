"""Progress over the connection to the receiver: workers tell, the coordinator watches.

Progress may be lost at any time, and never holds anybody up. Of each unit what was told last counts.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from ...proto.errors import AccessError, BackupError
from ...proto.records import Progress
from ...proto.wire.envelopes import MOST_EVENT_BYTES, Tell, Watch
from .connection import Connection, Line

_PAUSE_SECONDS = 0.2
_MOST_UNITS = 1000
_MOST_TOLD = 10_000
_MOST_COUNT = 1 << 63


class EventSender(Line):
    """A ProgressSink, for any thread: it neither waits nor raises. At most five a second are sent of each
    unit, among them the last one; what is told while there is no connection is dropped."""

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, Progress] = {}
        self._sent: dict[str, float] = {}
        with connection.lock:
            self._number = connection.new_number()
            connection.attach(self._number, self)

    def __call__(self, progress: Progress) -> None:
        """See ProgressSink."""
        with self._lock:
            self._waiting[progress.unit] = progress.after(self._waiting.get(progress.unit))
            if len(self._waiting) > _MOST_UNITS or not self._is_due(progress.unit):
                return
        # Whoever has the connection now will send it at the next beat.
        if self._connection.lock.try_enter():
            try:
                self.beat()
            finally:
                self._connection.lock.__exit__()

    def beat(self) -> None:
        """See Line."""
        with self._lock:
            due = [self._waiting.pop(unit) for unit in list(self._waiting) if self._is_due(unit)]
            if len(self._sent) > _MOST_UNITS:
                self._sent.clear()
            self._sent.update((progress.unit, self._clock()) for progress in due)
        for progress in due:
            for event in _events(progress):
                self._connection.send(Tell(event))

    def close(self) -> None:
        """Send what is left, if that can be done at once. The connection stays open."""
        with self._connection.lock:
            self._sent.clear()
            self.beat()
            self._connection.detach(self._number)

    def _is_due(self, unit: str) -> bool:
        return self._clock() - self._sent.get(unit, float("-inf")) >= _PAUSE_SECONDS


def _events(progress: Progress) -> Iterator[bytes]:
    """A progress as events, each of which may be sent: several where much is done. What alone is too large is
    left out."""
    event = json.dumps(progress).encode()
    if len(event) <= MOST_EVENT_BYTES:
        yield event
    elif len(progress.done) == 1:
        yield from _events(progress._replace(done=()))
    elif progress.done:
        half = len(progress.done) // 2
        for done in (progress.done[:half], progress.done[half:]):
            yield from _events(progress._replace(done=done))


class EventReceiver(Line):
    """What workers tell of their progress. Its host must be one that the receiver lets watch."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watching = False
        self._refusal: AccessError | None = None
        self._told: deque[tuple[str, Progress]] = deque(maxlen=_MOST_TOLD)
        with connection.lock:
            self._number = connection.new_number()
            connection.attach(self._number, self)

    def poll(self, timeout_seconds: float = 0.0) -> list[tuple[str, Progress]]:
        """What was told since the last time, with the host that told it; waits for some for a moment. While
        the connection is lost there is nothing. Raises AccessError if the receiver does not let it watch."""
        with self._connection.lock:
            if not self._told:
                self._connection.turn(timeout_seconds)
            if self._refusal is not None:
                raise self._refusal
            told = list(self._told)
            self._told.clear()
        return told

    def close(self) -> None:
        """The connection stays open."""
        with self._connection.lock:
            self._connection.detach(self._number)

    def greeted(self) -> None:
        """See Line."""
        self._watching = self._connection.send(Watch())

    def beat(self) -> None:
        """See Line."""
        if not self._watching:
            self.greeted()

    def failed(self, error: BackupError) -> None:
        """See Line."""
        if isinstance(error, AccessError):
            self._refusal = error

    def told(self, host: str, event: bytes) -> None:
        """See Line."""
        progress = decode_progress(event)
        if progress is not None:
            self._told.append((host, progress))


def decode_progress(event: bytes) -> Progress | None:
    """The Progress that another host told of; None if it is none."""
    try:
        fields = json.loads(event)
        progress = Progress(*fields)
        progress = progress._replace(done=tuple(progress.done))
    except (ValueError, TypeError, RecursionError):
        return None
    numbers = (progress.messages, progress.size_bytes, progress.new_bytes, progress.archive_bytes)
    texts = (progress.unit, progress.mailbox, progress.waiting, *progress.done)
    if not all(type(number) is int and 0 <= number < _MOST_COUNT for number in numbers):
        return None
    return progress if all(type(text) is str for text in texts) else None
