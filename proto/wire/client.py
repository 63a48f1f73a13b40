"""A client's connection to the receiver. WIRE.md, "Connections".

Owns connecting again, and telling its user. Each connection has a socket of its own (``link``), so nothing
that was meant for one is ever sent by the next. A client is used by one thread at a time; only ``wake`` may
be called at any time.
"""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

import zmq

from ..errors import AccessError
from ..structs import Record
from .envelopes import MOST_DATA_BYTES, Envelope, Sender, WireError, check_payload, encode
from .keys import KeyPair, is_key
from .link import Arrival, Link, State
from .sockets import Timing, milliseconds
from .waker import Waker

__all__ = ["Arrival", "Client", "Connected", "Happening", "Lost"]


class Connected(Record):
    """There is a new connection: the receiver knows nothing of the one before."""


class Lost(Record):
    """The connection is gone, and what was on its way in both directions. ``reason`` is for people."""

    reason: str


Happening = Arrival | Connected | Lost


class Client:
    """A connection to the receiver at ``endpoint``, which must have ``server_key``. It is made, and made
    again when it was lost, while ``receive`` or ``send`` is called.

    Raises WireError if the endpoint is none, AccessError if one of the keys is none.
    """

    trouble: str
    """Why the last attempt to connect failed or the last connection ended, for people; empty while there is
    a connection."""

    def __init__(
        self,
        endpoint: str,
        keys: KeyPair,
        server_key: str,
        *,
        most_payload_bytes: int = MOST_DATA_BYTES,
        timing: Timing | None = None,
    ) -> None:
        if not is_key(server_key):
            raise AccessError("the receiver's key is none: a key has 40 characters of Z85")
        self._endpoint = endpoint
        self._keys = keys
        self._server_key = server_key
        self._most_payload_bytes = most_payload_bytes
        self._timing = timing or Timing()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._waker = Waker()
        self._happenings: deque[Happening] = deque()
        self._refusal: AccessError | None = None
        self._connected = False
        self._announced = False
        self._pause = self._timing.reconnect_first
        self._due = 0.0
        self._link: Link | None = None
        self.trouble = "not connected yet"
        try:
            self._try_now()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def receive(self, timeout_seconds: float) -> Happening | None:
        """What happens next: a message arrives, the connection is there (also the first one) or lost. None
        if nothing does in time, or if ``wake`` was called. Raises AccessError once the receiver has refused
        the key: there is no further attempt."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            happening = self._next()
            if happening is not None:
                return happening
            left = deadline - time.monotonic()
            if left <= 0 or self._wait(left, zmq.POLLIN):
                return None

    def send(
        self, envelope: Envelope, payload: bytes | memoryview = b"", timeout_seconds: float = 0.0
    ) -> bool:
        """Hand a message over for sending; waits for room. True says that it was handed over, not that it
        will arrive. False if there was no room in time, or if there is no connection.

        What is sent is for the connection of which ``receive`` has told last: there is none from when it is
        lost until ``Connected`` was received. The payload must not change afterwards. Raises AccessError as
        ``receive`` does, and WireError if this is no message that a client may send.
        """
        header = encode(envelope)
        check_payload(envelope, memoryview(payload).nbytes, Sender.CLIENT)
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._follow()
            if self._refusal:
                raise self._refusal
            if not self._announced or self._link is None:
                return False
            if self._link.send(header, payload):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._wait(left, zmq.POLLOUT)

    def wake(self) -> None:
        """Make ``receive`` return at once, now or when it is called next. For any thread, at any time."""
        self._waker.wake()

    def close(self) -> None:
        """Drop the connection, and what was not sent. Repeatable."""
        if self._context.closed:
            return
        if self._link:
            self._link.close()
            self._link = None
        self._waker.close()
        self._context.term()

    def _next(self) -> Happening | None:
        self._follow()
        if not self._happenings and self._connected and self._link:
            self._take(self._link)
        if self._happenings:
            happening = self._happenings.popleft()
            if isinstance(happening, Connected):
                self._announced = self._connected and not self._happenings
            return happening
        if self._refusal:
            raise self._refusal
        return None

    def _take(self, link: Link) -> None:
        try:
            arrival = link.take()
        except WireError as error:
            link.fail(f"the receiver sent what is no message: {error}")
            self._follow()
            return
        if arrival:
            self._happenings.append(arrival)
            # Not when the connection was made: one that breaks each time must not be tried in a rush.
            self._pause = self._timing.reconnect_first

    def _follow(self) -> None:
        """Bring the link up, and notice what has become of it."""
        now = time.monotonic()
        link = self._link
        if link is None:
            if now >= self._due and not self._refusal:
                self._try_again(now)
            return
        link.follow()
        if link.state is State.RISING and now >= self._due:
            link.fail()
        if link.state is State.UP and not self._connected:
            self._connected = True
            self.trouble = ""
            self._happenings.append(Connected())
        elif link.state is State.DOWN:
            self._end(link, now)

    def _end(self, link: Link, now: float) -> None:
        self.trouble = link.trouble
        if self._connected:
            self._happenings.extend(link.rest())
            self._happenings.append(Lost(link.trouble))
        elif link.key_refused:
            self._refusal = AccessError(
                f"{self._endpoint}: the receiver does not allow the key {self._keys.public}: it needs a file "
                "with it, HOST.key, in its directory of keys",
                endpoint=self._endpoint,
                key=self._keys.public,
            )
        self._connected = self._announced = False
        self._link = None
        link.close()
        self._pause_from(now)

    def _pause_from(self, now: float) -> None:
        self._due = now + self._pause
        self._pause = min(2 * self._pause, self._timing.reconnect_most)

    def _try_again(self, now: float) -> None:
        try:
            self._try_now()
        except WireError as error:  # no descriptors left, for now
            self.trouble = error.message
            self._pause_from(now)

    def _try_now(self) -> None:
        # Longer than its own parts may take: a name that is not found is never reported.
        self._due = time.monotonic() + self._timing.connect + self._timing.handshake
        self._link = Link(
            self._context,
            self._endpoint,
            self._keys,
            self._server_key,
            self._most_payload_bytes,
            self._timing,
        )

    def _wait(self, seconds: float, events: int) -> bool:
        """Until something happens, or the next attempt is due; True if ``wake`` was called."""
        poller = zmq.Poller()
        if events == zmq.POLLIN:
            poller.register(self._waker.descriptor, zmq.POLLIN)
        if self._link:
            poller.register(self._link.monitor, zmq.POLLIN)
            poller.register(self._link.socket, events if self._connected else 0)
        if not self._connected:
            seconds = min(seconds, max(0.0, self._due - time.monotonic()))
        ready = dict(poller.poll(milliseconds(seconds)))
        return self._waker.descriptor in ready and self._waker.clear()
