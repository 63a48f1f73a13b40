"""One stream from a client to a server, two processes, loopback: what the wire alone carries, without a disk.

    python -m mailhaul.bench.micro.channel [--megabytes N] [--repetitions N]

The client sends as a worker does: chunks, as far as it has credit; the server grants more with each chunk
that it took. ``mailhaul`` are our own Client and Server, always with CURVE. ``bare`` are ZeroMQ's sockets
with the same envelopes and nothing around them, with CURVE and without: the differences are what our part
costs, and what encryption costs. Prints the best repetition, and the speed of all of them; MB are 10^6 bytes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

import zmq

from mailhaul.proto.wire.client import Arrival, Client, Connected
from mailhaul.proto.wire.envelopes import Credit, Data, Envelope, decode, encode
from mailhaul.proto.wire.keys import KeyPair, new_pair
from mailhaul.proto.wire.server import Server
from mailhaul.proto.wire.sockets import receive_parts, send_parts

WINDOW_BYTES = 8 << 20
CHUNKS = (256 << 10, 1 << 20)
WAYS = ("mailhaul", "bare, CURVE", "bare, no CURVE")
LIMIT_SECONDS = 120.0

T = TypeVar("T")
Send = Callable[[Envelope, bytes | memoryview], bool]
Receive = Callable[[], tuple[Envelope, memoryview] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one process took for it."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One stream."""

    megabytes_per_second: float
    sender_cpu_per_gb: float
    receiver_cpu_per_gb: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000, help="sent in each measurement (default 2000)")
    parser.add_argument("--repetitions", type=int, default=5, help="(default 5)")
    options = parser.parse_args(arguments)
    size = options.megabytes * 10**6
    print("| | chunk | MB/s, best (all) | sender CPU s/GB | receiver CPU s/GB |")
    print("|---|---|---|---|---|")
    rows = [(way, chunk) for chunk in CHUNKS for way in WAYS]
    found: dict[tuple[str, int], list[Figures]] = {row: [] for row in rows}
    for _ in range(options.repetitions):
        # In turns: a busy moment of the machine does not hit one row alone.
        for way, chunk in rows:
            found[way, chunk].append(measure(way, chunk, size))
    for (way, chunk), figures in found.items():
        best = max(figures, key=lambda one: one.megabytes_per_second)
        every = " ".join(f"{figure.megabytes_per_second:,.0f}" for figure in figures)
        print(
            f"| {way} | {chunk >> 10} KiB | {best.megabytes_per_second:,.0f} ({every}) "
            f"| {best.sender_cpu_per_gb:.2f} | {best.receiver_cpu_per_gb:.2f} |"
        )


def measure(way: str, chunk_bytes: int, size_bytes: int) -> Figures:
    """Send so much once, from a new process to a new process."""
    keys, server_keys = new_pair(), new_pair()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(
        target=_serve, args=(theirs, way, server_keys, keys.public, size_bytes), daemon=True
    )
    server.start()
    endpoint = _hear(ours, str)
    sender, sender_end = spawn.Pipe()
    client = spawn.Process(
        target=_stream,
        args=(sender_end, way, endpoint, keys, server_keys.public, chunk_bytes, size_bytes),
        daemon=True,
    )
    client.start()
    sent, received = _hear(sender, Side), _hear(ours, Side)
    for process in (client, server):
        process.join(LIMIT_SECONDS)
    return Figures(
        megabytes_per_second=size_bytes / 1e6 / sent.seconds,
        sender_cpu_per_gb=sent.cpu_seconds / (size_bytes / 1e9),
        receiver_cpu_per_gb=received.cpu_seconds / (size_bytes / 1e9),
    )


def _stream(
    end: Connection,
    way: str,
    endpoint: str,
    keys: KeyPair,
    server_key: str,
    chunk_bytes: int,
    size_bytes: int,
) -> None:
    # Random, and several of them: nothing on the way may find it easy.
    chunks = [os.urandom(chunk_bytes) for _ in range(8)]
    with _client(way, endpoint, keys, server_key) as (send, receive):
        began, cpu = time.perf_counter(), _cpu_seconds()
        offset, until, written, number = 0, WINDOW_BYTES, 0, 0
        while written < size_bytes:
            while offset < size_bytes and offset + chunk_bytes <= until:
                if not send(Data(1, offset), chunks[number % len(chunks)]):
                    break
                offset, number = offset + chunk_bytes, number + 1
            answer = receive()
            if answer and isinstance(answer[0], Credit):
                until, written = answer[0].until, answer[0].written
        end.send(Side(seconds=time.perf_counter() - began, cpu_seconds=_cpu_seconds() - cpu))


def _serve(end: Connection, way: str, keys: KeyPair, allowed: str, size_bytes: int) -> None:
    with _server(way, keys, allowed) as (endpoint, take):
        end.send(endpoint)
        cpu, written, touched = _cpu_seconds(), 0, 0
        began = time.perf_counter()
        while written < size_bytes:
            taken = take()
            if taken is None:
                continue
            envelope, payload, answer = taken
            assert isinstance(envelope, Data)
            assert envelope.offset == written
            touched ^= payload[0]
            written += len(payload)
            answer(Credit(1, written + WINDOW_BYTES, written, ""))
        end.send(Side(seconds=time.perf_counter() - began, cpu_seconds=_cpu_seconds() - cpu))
        end.poll(1.0)  # the last credit is on its way


@contextmanager
def _client(way: str, endpoint: str, keys: KeyPair, server_key: str) -> Iterator[tuple[Send, Receive]]:
    if way == "mailhaul":
        with Client(endpoint, keys, server_key) as client:
            assert isinstance(client.receive(10.0), Connected)

            def receive() -> tuple[Envelope, memoryview] | None:
                happening = client.receive(1.0)
                assert happening is None or isinstance(happening, Arrival), happening
                return happening

            yield (lambda envelope, payload: client.send(envelope, payload, 1.0)), receive
        return
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 16
        if way == "bare, CURVE":
            socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
            socket.curve_serverkey = server_key.encode()
        socket.connect(endpoint)

        def send(envelope: Envelope, payload: bytes | memoryview) -> bool:
            socket.poll(1000, zmq.POLLOUT)
            send_parts(socket, [encode(envelope)], payload)
            return True

        def receive_plain() -> tuple[Envelope, memoryview] | None:
            socket.poll(1000)
            parts = receive_parts(socket, most=2)
            return (decode(parts[0].buffer), memoryview(b"")) if parts else None

        yield send, receive_plain


Taken = tuple[Envelope, memoryview, Callable[[Envelope], object]]


@contextmanager
def _server(way: str, keys: KeyPair, allowed: str) -> Iterator[tuple[str, Callable[[], Taken | None]]]:
    if way == "mailhaul":
        with Server(
            "tcp://127.0.0.1:0", keys, lambda: {allowed: "client"}, most_payload_bytes=WINDOW_BYTES
        ) as server:

            def take() -> Taken | None:
                got = server.receive(1.0)
                if got is None:
                    return None
                return got.envelope, got.payload, lambda answer: server.send(got.client, answer)

            yield server.endpoint, take
        return
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 16
        if way == "bare, CURVE":
            socket.curve_server = True
            socket.curve_secretkey = keys.secret.encode()
        socket.bind("tcp://127.0.0.1:0")

        def take_plain() -> Taken | None:
            socket.poll(1000)
            parts = receive_parts(socket, most=3)
            if parts is None:
                return None
            name = parts[0].bytes
            return (
                decode(parts[1].buffer),
                parts[2].buffer,
                lambda answer: send_parts(socket, [name, encode(answer)], b""),
            )

        yield socket.getsockopt_string(zmq.LAST_ENDPOINT), take_plain


def _hear(end: Connection, kind: type[T]) -> T:
    if not end.poll(LIMIT_SECONDS):
        raise TimeoutError("a process of the measurement does not answer")
    heard = end.recv()
    assert isinstance(heard, kind), heard
    return heard


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
