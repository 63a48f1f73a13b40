"""One connection of a client, from the attempt to its end: one socket, used for nothing else.

Owns what the socket's monitor says of it. Whether and when to try again is the client's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

import zmq

from .envelopes import Envelope, Sender, WireError, check_payload, decode
from .keys import KeyPair
from .sockets import (
    Change,
    Timing,
    changes,
    milliseconds,
    most_part_bytes,
    new_name,
    prepare,
    receive_parts,
    send_parts,
    unwatch,
    watch,
    wire_error,
)

_AHEAD = 16
"""Messages that wait in a socket in each direction; what a stream may send is limited by its credit."""

_EVENTS = (
    zmq.EVENT_CONNECT_DELAYED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_MEANINGS: dict[int, str] = {
    zmq.EVENT_CONNECT_DELAYED: "nothing answers there",
    zmq.EVENT_CONNECTED: "what answers there does not finish the handshake",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "the handshake failed: is this the key of the receiver there?",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "the handshake failed: there is no receiver there",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the receiver refused the handshake",
}
_KEY_REFUSED = 400


class Arrival(NamedTuple):
    """A message from the receiver."""

    envelope: Envelope
    payload: memoryview


class State(Enum):
    """A link is on its way up, up, or down for good."""

    RISING = auto()
    UP = auto()
    DOWN = auto()


class Link:
    """An attempt to connect. Raises WireError if the endpoint is none, AccessError if the keys are none.

    ``trouble`` says what is the matter with it, for people; ``key_refused`` that another attempt with this
    key is of no use.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        keys: KeyPair,
        server_key: str,
        most_payload_bytes: int,
        timing: Timing,
    ) -> None:
        self.state = State.RISING
        # Replaced by the first thing that happens; nothing ever does where there is no such host.
        self.trouble = "the name of the host is not known"
        self.key_refused = False
        self._spoilt = False
        self._endpoint = endpoint
        try:
            self.socket = context.socket(zmq.DEALER)
            self.monitor = watch(self.socket, context, _EVENTS)
        except zmq.ZMQError as error:
            raise wire_error("no socket to be had", endpoint, error) from error
        try:
            prepare(self.socket, timing, keys, endpoint)
            self.socket.routing_id = new_name()
            self.socket.curve_serverkey = server_key.encode()
            # Never by itself: the client is to notice, and nothing is to wait in a queue meanwhile.
            self.socket.reconnect_ivl = -1
            self.socket.immediate = True
            self.socket.connect_timeout = milliseconds(timing.connect)
            self.socket.maxmsgsize = most_part_bytes(most_payload_bytes)
            self.socket.sndhwm = self.socket.rcvhwm = _AHEAD
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise wire_error("can't connect to this", endpoint, error) from error
        except BaseException:
            self.close()
            raise

    def follow(self) -> None:
        """Learn what has happened to the connection."""
        for change in changes(self.monitor):
            self._note(change)

    def fail(self, trouble: str = "") -> None:
        """It is of no use any more."""
        self.trouble = trouble or self.trouble
        self.state = State.DOWN

    def take(self) -> Arrival | None:
        """The next message, without waiting. Raises WireError if what came is none."""
        parts = receive_parts(self.socket, most=2)
        if parts is None:
            return None
        try:
            return _arrival(parts)
        except WireError:
            self._spoilt = True
            raise

    def rest(self) -> Iterator[Arrival]:
        """What had arrived before it went down; nothing behind what was no message."""
        try:
            while not self._spoilt and (arrival := self.take()):
                yield arrival
        except WireError:
            return

    def send(self, header: bytes, payload: bytes | memoryview) -> bool:
        """Send a message, without waiting; False if there is no room."""
        try:
            send_parts(self.socket, [header], payload)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise wire_error("can't send", self._endpoint, error) from error
        return True

    def close(self) -> None:
        """Drop the connection. Not to be called twice."""
        unwatch(self.socket, self.monitor)
        self.socket.close()

    def _note(self, change: Change) -> None:
        self.trouble = _MEANINGS.get(change.event, self.trouble)
        if change.event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.state, self.trouble = State.UP, ""
        elif change.event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.key_refused = change.value == _KEY_REFUSED
            self.state = State.DOWN
        elif change.event in (zmq.EVENT_CLOSED, zmq.EVENT_DISCONNECTED):
            self.fail("the connection was lost" if self.state is State.UP else "")


def _arrival(parts: list[zmq.Frame]) -> Arrival:
    if len(parts) > 2:
        raise WireError(f"a message of {len(parts)} parts")
    envelope = decode(parts[0].buffer)
    payload = parts[1].buffer if len(parts) == 2 else memoryview(b"")
    check_payload(envelope, payload.nbytes, Sender.RECEIVER)
    return Arrival(envelope, payload)
