"""What both ends ask of their sockets, and what a socket tells of its connections.

Owns the ZeroMQ options, each with its reason, and the reading of monitor events and of messages part by part.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import zmq

from ..errors import AccessError
from ..structs import Record
from .envelopes import MOST_ENVELOPE_BYTES, WireError
from .keys import KeyPair, is_key

COPY_BELOW_BYTES = 64 << 10
"""Smaller payloads are copied into ZeroMQ: that costs less than the accounting for a shared buffer."""

DOMAIN = b"mailhaul"

_ENCRYPTION_BYTES = 1 << 10
"""More than CURVE adds to a part of a message."""

NAME_BYTES = 17
_NAME_START = b"\1"

_EVENT = struct.Struct("=HI")
_NUMBERS = count()


class Timing(Record, kw_only=True):
    """How soon a silent peer is given up, in seconds.

    A connection is dropped if for ``heartbeat_timeout`` nothing came in reply to heartbeats, one each
    ``heartbeat``; a peer that does not finish its ``handshake`` or a connect in time is dropped too. A client
    tries again after ``reconnect_first``, then after twice as long each time, up to ``reconnect_most``.
    """

    heartbeat: float = 2.0
    heartbeat_timeout: float = 6.0
    handshake: float = 5.0
    connect: float = 5.0
    reconnect_first: float = 0.2
    reconnect_most: float = 5.0


class Change(NamedTuple):
    """What a socket's monitor says: an event of ``zmq.Event``, and the number that comes with it."""

    event: int
    value: int


def prepare(socket: zmq.Socket[bytes], timing: Timing, keys: KeyPair, endpoint: str) -> None:
    """What both kinds of sockets have in common. Raises AccessError if the keys are none."""
    if not is_key(keys.public) or not is_key(keys.secret):
        raise AccessError("the pair of keys is none: a key has 40 characters of Z85")
    socket.curve_publickey = keys.public.encode()
    socket.curve_secretkey = keys.secret.encode()
    # What was not sent when a socket is closed is of no use to anybody.
    socket.linger = 0
    socket.ipv6 = "[" in endpoint
    # Without heartbeats a peer that was stopped, or cut off, would seem to be there for ever.
    socket.heartbeat_ivl = milliseconds(timing.heartbeat)
    socket.heartbeat_timeout = milliseconds(timing.heartbeat_timeout)
    socket.heartbeat_ttl = milliseconds(timing.heartbeat_timeout)
    socket.handshake_ivl = milliseconds(timing.handshake)


def new_name() -> bytes:
    """A name for a client's connection. It is secret, from other clients: whoever knew it could take it up
    when the connection is lost, and get the answers that are still sent to it."""
    return _NAME_START + os.urandom(NAME_BYTES - len(_NAME_START))


def is_connection_name(name: bytes) -> bool:
    """Whether ``new_name`` may have made it; those that ZeroMQ gives, which can be guessed, it did not."""
    return len(name) == NAME_BYTES and name.startswith(_NAME_START)


def watch(
    socket: zmq.Socket[bytes], context: zmq.Context[zmq.Socket[bytes]], events: int
) -> zmq.Socket[bytes]:
    """The monitor of a socket. Close it with ``unwatch``, before the socket."""
    # Descriptors are used again, so they are no names (as in pyzmq's own).
    address = f"inproc://mailhaul-monitor-{next(_NUMBERS)}"
    socket.monitor(address, events)
    monitor = context.socket(zmq.PAIR)
    monitor.linger = 0
    # ZeroMQ waits for room in the middle of its work: with a limit, a burst of strangers would stop it.
    monitor.rcvhwm = 0
    monitor.connect(address)
    return monitor


def unwatch(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
    """Close a socket's monitor."""
    socket.disable_monitor()
    monitor.close()


def changes(monitor: zmq.Socket[bytes], most: int = 1000) -> Iterator[Change]:
    """What has happened, without waiting; ``most`` at a time, so that a burst can't hold up the mail."""
    for _ in range(most):
        try:
            event, _endpoint = monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        yield Change(*_EVENT.unpack(event))


def receive_parts(socket: zmq.Socket[bytes], most: int) -> list[zmq.Frame] | None:
    """The parts of the next message, without copying them; None if there is none. Of a message with more
    parts than ``most`` all are taken off the socket, and ``most + 1`` are returned."""
    try:
        parts = [socket.recv(zmq.NOBLOCK, copy=False)]
    except zmq.Again:
        return None
    while parts[-1].more:
        part = socket.recv(zmq.NOBLOCK, copy=False)
        if len(parts) > most:
            parts.pop()
        parts.append(part)
    return parts


def send_parts(socket: zmq.Socket[bytes], small: list[bytes], payload: bytes | memoryview) -> None:
    """Send a message without waiting: all of it or nothing. Raises zmq.Again, and what else ZeroMQ raises."""
    if not len(payload):
        socket.send_multipart(small, zmq.NOBLOCK)
        return
    # The first part says whether there is room: what follows is taken with it.
    for part in small:
        socket.send(part, zmq.NOBLOCK | zmq.SNDMORE)
    socket.send(payload, zmq.NOBLOCK, copy=memoryview(payload).nbytes < COPY_BELOW_BYTES)


def most_part_bytes(most_payload_bytes: int) -> int:
    """The limit for one part of a message, as ZeroMQ counts it: with what encryption adds."""
    return max(most_payload_bytes, MOST_ENVELOPE_BYTES) + _ENCRYPTION_BYTES


def wire_error(action: str, endpoint: str, error: zmq.ZMQError) -> WireError:
    """ZeroMQ's error as ours."""
    return WireError(f"{endpoint}: {action}: {error.strerror}", endpoint=endpoint)


def milliseconds(seconds: float) -> int:
    """As ZeroMQ wants it; never 0 for a time that is more, since that would mean something else."""
    return math.ceil(seconds * 1000)
