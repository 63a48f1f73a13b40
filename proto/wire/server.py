"""The receiver's socket: many clients, each known by its key. WIRE.md, "Connections".

Owns who may come in, which host a message is from, and that nothing which a peer sends gets further than
here unless it is an envelope. A server is used by one thread at a time; only ``wake`` may be called at any
time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType

import zmq

from ..structs import Record
from .door import Allowed, Door
from .envelopes import Envelope, Sender, WireError, check_payload, decode, encode
from .keys import KeyPair
from .sockets import (
    DOMAIN,
    NAME_BYTES,
    Change,
    Timing,
    changes,
    is_connection_name,
    milliseconds,
    most_part_bytes,
    prepare,
    receive_parts,
    send_parts,
    unwatch,
    watch,
    wire_error,
)
from .visitors import Stranger, Visitors
from .waker import Waker

_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)

_RECEIVE_AHEAD = 16
"""Messages of one client that wait here, before its own side has to: about two windows of 8 MiB."""

_SEND_AHEAD = 64
"""Messages that wait for one client. Most are small; a client can't ask for more reads than its credit."""

_BACKLOG = 1024
"""Connections that wait to be accepted: all hosts come at once after the receiver was started again."""


class Received(Record):
    """A message. ``client`` names the connection that it came by, for ``Server.send``; no other connection
    ever has the same name. ``host`` is the one whose key the client has shown."""

    client: bytes
    host: str
    envelope: Envelope
    payload: memoryview


class ServerCounts(Record, kw_only=True):
    """What a server has seen since it began; ``connections`` are those that are open now.

    ``refused`` were turned away at the door, the last of them are in ``strangers``, oldest first.
    ``malformed`` says of each host how many of its messages were dropped because they are none; ``unsent``
    are messages whose client was gone or did not take them.
    """

    connections: int
    refused: int
    strangers: tuple[Stranger, ...]
    malformed: Mapping[str, int]
    unsent: int


class Server:
    """A socket that listens on ``endpoint``, with these ``keys``, for clients whose keys are ``allowed``.

    ``allowed`` is asked at each handshake, and every few seconds while messages come, so a key that is
    taken off the list is refused soon. A payload of more than ``most_payload_bytes`` ends its client's
    connection. Raises WireError if it can't listen, AccessError if the keys are none.
    """

    endpoint: str
    """Where it listens: with the port that was chosen, if port 0 was asked for."""

    def __init__(
        self,
        endpoint: str,
        keys: KeyPair,
        allowed: Allowed,
        *,
        most_payload_bytes: int,
        timing: Timing | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._visitors = Visitors(now)
        self._malformed: Counter[str] = Counter()
        self._unsent = 0
        self._most_payload_bytes = most_payload_bytes
        _make_names_unforeseeable()
        # One thread for all input and output, which is what Visitors relies on.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._waker = Waker()
        self._door = Door(self._context, allowed, self._visitors)
        self._router = self._context.socket(zmq.ROUTER)
        self._monitor = watch(self._router, self._context, _EVENTS)
        try:
            self._open(endpoint, keys, timing or Timing())
        except BaseException:
            self.close()
            raise
        self._inside = zmq.Poller()
        for one in (self._router, self._monitor, self._waker.descriptor):
            self._inside.register(one, zmq.POLLIN)
        self._everything = zmq.Poller()
        for one in (self._router, self._monitor, self._waker.descriptor, self._door.socket):
            self._everything.register(one, zmq.POLLIN)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def counts(self) -> ServerCounts:
        """As they are now."""
        return ServerCounts(
            connections=self._visitors.connections,
            refused=self._visitors.refused,
            strangers=self._visitors.last(),
            malformed=dict(self._malformed),
            unsent=self._unsent,
        )

    def receive(self, timeout_seconds: float) -> Received | None:
        """The next message. None if none came in time, if ``wake`` was called, or if what came is none (it
        is counted). Call it often: the door is attended to in here. No peer can make it raise."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            ready = self._wait(left)
            # First, so that the door knows of a connection before it is asked about its key.
            if self._monitor in ready:
                for change in changes(self._monitor):
                    self._note(change)
            if self._door.socket in ready:
                self._door.answer()
            if self._router in ready:
                return self._take()
            if self._waker.descriptor in ready:
                self._waker.clear()
                return None
            if left <= 0:
                return None

    def send(self, client: bytes, envelope: Envelope, payload: bytes | memoryview = b"") -> bool:
        """Send a message, without waiting. False if the client is gone, is allowed no more, or does not take
        what is sent to it. The payload must not change afterwards. Raises WireError if it is no message
        that a receiver may send."""
        header = encode(envelope)
        check_payload(envelope, memoryview(payload).nbytes, Sender.RECEIVER)
        name, key = client[:NAME_BYTES], client[NAME_BYTES:]
        if self._door.host_of(key.decode()) is None:
            return False
        try:
            send_parts(self._router, [name, header], payload)
        except zmq.ZMQError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.EAGAIN):
                raise wire_error("can't send", self.endpoint, error) from error
            self._unsent += 1
            return False
        return True

    def wake(self) -> None:
        """Make ``receive`` return at once, now or when it is called next. For any thread, at any time."""
        self._waker.wake()

    def close(self) -> None:
        """Drop all connections. Repeatable."""
        if self._context.closed:
            return
        unwatch(self._router, self._monitor)
        self._router.close()
        self._door.close()
        self._waker.close()
        self._context.term()

    def _wait(self, seconds: float) -> dict[object, int]:
        """What is ready within this time, or before that if the door is to be attended to again."""
        pause = self._door.pause_seconds
        if pause:
            return dict(self._inside.poll(milliseconds(min(seconds, pause))))
        return dict(self._everything.poll(milliseconds(seconds)))

    def _open(self, endpoint: str, keys: KeyPair, timing: Timing) -> None:
        router = self._router
        prepare(router, timing, keys, endpoint)
        router.curve_server = True
        router.zap_domain = DOMAIN
        # Without this, ZeroMQ lets everybody in when there is nobody to ask.
        router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        router.router_mandatory = True
        # No handover (the default, but it matters): each connection has a name of its own, so whoever comes
        # with one that is in use is up to no good.
        router.router_handover = False
        router.maxmsgsize = most_part_bytes(self._most_payload_bytes)
        router.rcvhwm = _RECEIVE_AHEAD
        router.sndhwm = _SEND_AHEAD
        router.backlog = _BACKLOG
        try:
            router.bind(endpoint)
        except zmq.ZMQError as error:
            raise wire_error("can't listen there", endpoint, error) from error
        self.endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)

    def _note(self, change: Change) -> None:
        if change.event == zmq.EVENT_ACCEPTED:
            self._visitors.accepted(change.value, _peer_address(change.value))
        elif change.event == zmq.EVENT_DISCONNECTED:
            self._visitors.closed(change.value)
        elif change.event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._visitors.failed("no handshake, or not one for the key of this server")
        else:
            self._visitors.failed("the handshake was broken off, or took too long")

    def _take(self) -> Received | None:
        parts = receive_parts(self._router, most=3)
        if parts is None:
            return None
        name, key = parts[0].bytes, str(parts[0].get("User-Id"))
        host = self._door.host_of(key)
        if host is None:
            return None
        try:
            envelope, payload = self._read(name, parts[1:])
        except WireError:
            self._malformed[host] += 1
            return None
        return Received(name + key.encode(), host, envelope, payload)

    def _read(self, name: bytes, parts: list[zmq.Frame]) -> tuple[Envelope, memoryview]:
        if not is_connection_name(name):
            raise WireError("the connection has no name that can be trusted")
        if not 1 <= len(parts) <= 2:
            raise WireError(f"a message of {len(parts)} parts")
        envelope = decode(parts[0].buffer)
        payload = parts[1].buffer if len(parts) == 2 else memoryview(b"")
        if payload.nbytes > self._most_payload_bytes:
            raise WireError(f"a payload of {payload.nbytes} bytes is too long")
        check_payload(envelope, payload.nbytes, Sender.CLIENT)
        return envelope, payload


def _make_names_unforeseeable() -> None:
    """ZeroMQ names the connections of clients that give no name: numbers from ``rand()``, which it never
    seeds. It aborts the process if somebody has taken the next name already, so nobody must foresee it."""
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4)))


def _peer_address(descriptor: int) -> str:
    """Where a connection of ZeroMQ's comes from; empty if it has ended already."""
    with suppress(OSError):
        peer = socket.socket(fileno=descriptor)
        try:
            return str(peer.getpeername()[0])
        finally:
            peer.detach()
    return ""
