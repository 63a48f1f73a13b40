"""A worker's connection to the receiver: one socket for the streams, files and events of a process.

Owns greeting, keeping alive, noticing that the receiver is gone, and who gets which answer. A thread of its
own keeps it alive while the worker reads a slow mail store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ...proto.errors import AccessError, BackupError, LeaseLostError
from ...proto.wire.client import Arrival, Client, Connected, Lost
from ...proto.wire.envelopes import (
    VERSION,
    Bytes,
    Credit,
    Durable,
    Envelope,
    Found,
    Hello,
    Opened,
    Ping,
    Refused,
    Sealed,
    Told,
    Welcome,
)
from .flow import error_of

_BEATS_PER_LEASE = 10
_LONGEST_BEAT_SECONDS = 1.0
_LONGEST_TURN_SECONDS = 0.1

Answer = Opened | Credit | Durable | Sealed | Found | Bytes | Refused


class Line:
    """One user of a connection: a stream, a file, the events. All of it is called with the connection's lock
    held; it must neither wait nor raise."""

    def greeted(self) -> None:
        """The connection is up, for the first time or again: all that was on its way is lost."""

    def answered(self, envelope: Answer, payload: memoryview) -> None:
        """An answer to what was sent under the number of this line."""

    def told(self, host: str, event: bytes) -> None:
        """Another client has told of something."""

    def beat(self) -> None:
        """A moment has passed."""

    def failed(self, error: BackupError) -> None:
        """The receiver was silent for the length of a lease, or does not want this client. May come again."""


class FairLock:
    """A lock that is handed over to who waits: ``give_way`` lets others in between, each for a turn.
    ``on_wait`` is called when somebody has to wait for it."""

    def __init__(self, on_wait: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._next = threading.Lock()  # whoever has it gets the lock before anybody who comes later
        self._on_wait = on_wait

    def __enter__(self) -> None:
        with self._next:
            if not self._lock.acquire(blocking=False):
                self._on_wait()
                self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def give_way(self) -> None:
        """Let those in who wait for the lock, which is held."""
        self._lock.release()
        self.__enter__()

    def try_enter(self) -> bool:
        """Take the lock if it is free."""
        return self._lock.acquire(blocking=False)


class Connection:
    """Connects at once, in the background. ``host`` is the name of this host, ``lease_seconds`` how long the
    receiver may be silent.

    ``lock`` is to be held for every call but ``close``. Who waits for an answer calls ``turn`` until it is
    there; others have their turns meanwhile.
    """

    def __init__(
        self, client: Client, host: str, lease_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lock = FairLock(client.wake)
        self.is_up = False
        self._client = client
        self._host = host
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._heard = clock()
        self._number = self._pings = 0
        self._lines: dict[int, Line] = {}
        self._waiting_since: dict[int, float] = {}
        self._beat_seconds = min(_LONGEST_BEAT_SECONDS, lease_seconds / _BEATS_PER_LEASE)
        self._beat_at = self._heard
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_alive, name="keep-alive", daemon=True)
        self._keeper.start()

    def new_number(self) -> int:
        """A number that was not used yet, for a stream or for the requests of a file."""
        self._number += 1
        return self._number

    def attach(self, number: int, line: Line) -> None:
        """From here on the line gets what comes for this number. It is greeted at once if the connection is
        up, else when it is."""
        self._lines[number] = line
        self._waiting_since[number] = self._clock()
        if self.is_up:
            line.greeted()

    def detach(self, number: int) -> None:
        """What comes for this number from now on is dropped."""
        self._lines.pop(number, None)
        self._waiting_since.pop(number, None)

    def send(self, envelope: Envelope, payload: bytes | memoryview = b"") -> bool:
        """Send without waiting; False if the connection is not up, or has no room just now: a line may try
        again at the next beat. What is on its way when it breaks is lost: ``greeted`` tells."""
        if not self.is_up:
            return False
        try:
            return self._client.send(envelope, payload)
        except AccessError as error:
            self._fail(error)
            return False

    def turn(self, timeout_seconds: float = _LONGEST_TURN_SECONDS) -> None:
        """Take in what has come, waiting for the first of it for a moment. Lines hear of it."""
        self.lock.give_way()
        self._check_lease()
        self._beat()
        while (received := self._receive(timeout_seconds)) is not None:
            timeout_seconds = 0.0
            if isinstance(received, Arrival):
                self._heard = self._clock()
                self._take(received.envelope, received.payload)
            else:
                self.is_up = False
                if isinstance(received, Connected):
                    self._greet()

    def close(self) -> None:
        """Repeatable."""
        self._closing.set()
        if self._keeper is not threading.current_thread():
            self._keeper.join()
        with self.lock:
            self._client.close()

    def _receive(self, timeout_seconds: float) -> Arrival | Connected | Lost | None:
        try:
            return self._client.receive(timeout_seconds)
        except AccessError as error:
            self._fail(error)
            return None

    def _greet(self) -> None:
        self._client.send(Hello(VERSION, self._host))

    def _check_lease(self) -> None:
        now = self._clock()
        for number, since in list(self._waiting_since.items()):
            silent = now - max(self._heard, since)
            if silent > self._lease_seconds:
                self._waiting_since[number] = now
                error = LeaseLostError(f"the receiver was not heard from for {silent:.0f} s", seconds=silent)
                self._lines[number].failed(error)

    def _fail(self, error: BackupError) -> None:
        for line in list(self._lines.values()):
            line.failed(error)

    def _take(self, envelope: Envelope, payload: memoryview) -> None:
        if isinstance(envelope, Welcome):
            self.is_up = True
            for line in list(self._lines.values()):
                line.greeted()
        elif isinstance(envelope, Told):
            for line in list(self._lines.values()):
                line.told(envelope.host, envelope.event)
        elif isinstance(envelope, Refused) and envelope.what == "hello":
            self._greeting_refused(envelope)
        elif isinstance(envelope, Opened | Credit | Durable | Sealed):
            self._answer(envelope.stream, envelope, payload)
        elif isinstance(envelope, Found | Bytes):
            self._answer(envelope.request, envelope, payload)
        elif isinstance(envelope, Refused):
            self._answer(envelope.number, envelope, payload)

    def _greeting_refused(self, refused: Refused) -> None:
        if not refused.retryable:
            self._fail(error_of(refused))
        elif self.is_up:
            # It does not know this client any more: this process slept for long. It says so of everything
            # that was on its way.
            self.is_up = False
            self._greet()

    def _answer(self, number: int, envelope: Answer, payload: memoryview) -> None:
        line = self._lines.get(number)
        if line is not None:
            line.answered(envelope, payload)

    def _beat(self) -> None:
        if self._clock() < self._beat_at:
            return
        self._beat_at = self._clock() + self._beat_seconds
        self._pings += 1
        self.send(Ping(self._pings))
        for line in list(self._lines.values()):
            line.beat()

    def _keep_alive(self) -> None:
        while not self._closing.wait(self._beat_seconds):
            with self.lock:
                try:
                    self.turn(0.0)
                except BackupError as error:
                    self._fail(error)
