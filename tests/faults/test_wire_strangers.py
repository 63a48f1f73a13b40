"""A server among strangers and a client gone bad, while a good client's mail goes on.

In every test the good client sends without a pause; at the end all of it has come back, over one connection,
the server is the same process, and its memory is what it was.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
import zmq

from mailhaul.proto.wire.client import Arrival, Client, Connected
from mailhaul.proto.wire.envelopes import (
    KINDS,
    MOST_DATA_BYTES,
    Bytes,
    Data,
    Envelope,
    Opened,
    Ping,
    Pong,
    Sender,
    Welcome,
    WireError,
    check_payload,
    decode,
    encode,
)
from mailhaul.proto.wire.keys import KeyPair, new_pair
from mailhaul.proto.wire.sockets import new_name

LIMIT_SECONDS = 60.0
MOST_GROWTH_BYTES = 48 << 20
"""More than what sockets and Python's allocator keep for themselves; far less than what is thrown at it."""

GREETING = bytes.fromhex("ff00000000000000017f03014355525645") + bytes(15) + b"\0" + bytes(31)


class Target:
    """The server under attack, in its own process, and the keys of two clients that are allowed."""

    def __init__(self) -> None:
        self.good, self.bad = new_pair(), new_pair()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                str(Path(__file__).parent / "wire_echo.py"),
                f"good={self.good.public}",
                f"bad={self.bad.public}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.endpoint, self.key = self._line()
        self.address = ("127.0.0.1", int(self.endpoint.rpartition(":")[2]))

    def counts(self) -> dict[str, Any]:
        """What the server has counted. Fails if it is no more."""
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        counts: dict[str, Any] = self._line()
        return counts

    def memory_bytes(self) -> int:
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def _line(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the server is no more: {self._process.wait(10)}"
        return json.loads(line)


class GoodClient:
    """Sends payloads of all sizes and checks that each comes back; in a thread, until it is told to end."""

    def __init__(self, target: Target) -> None:
        self._client = Client(target.endpoint, target.good, target.key)
        self._ending = threading.Event()
        self._failure: BaseException | None = None
        self.echoes = 0
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        assert self._client.receive(LIMIT_SECONDS) == Connected()
        self._thread.start()

    def finish(self) -> None:
        """Fails unless everything came back."""
        self._ending.set()
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()
        self._client.close()
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        try:
            self._echo()
        except BaseException as error:
            self._failure = error

    def _echo(self) -> None:
        source = random.Random(1)
        while not self._ending.is_set():
            sent = [source.randbytes(source.choice((1, 900, 70_000, 300_000))) for _ in range(4)]
            for at, payload in enumerate(sent):
                assert self._client.send(Data(1, self.echoes + at), payload, LIMIT_SECONDS)
            for payload in sent:
                arrival = self._client.receive(LIMIT_SECONDS)
                assert isinstance(arrival, Arrival), arrival
                assert arrival.envelope == Bytes(1, self.echoes)
                assert digest(arrival.payload) == digest(payload)
                self.echoes += 1


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data).digest()


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with closing(Target()) as made:
        with undisturbed(made):  # memory that a first use takes for good
            time.sleep(1.0)
        yield made


@contextmanager
def undisturbed(target: Target) -> Iterator[None]:
    """A good client's mail goes on all the while, and the server does not grow."""
    good = GoodClient(target)
    good.start()
    before, refused = target.memory_bytes(), target.counts()["unsent"]
    peak, done = [before], threading.Event()

    def sample() -> None:
        while not done.wait(0.02):
            peak.append(target.memory_bytes())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield
        echoes = good.echoes
        until(lambda: good.echoes > echoes + 10)
    finally:
        done.set()
        sampler.join()
        good.finish()
    assert good.echoes > 20
    assert target.counts()["unsent"] == refused
    assert max(peak) - before < MOST_GROWTH_BYTES, f"it grew by {(max(peak) - before) >> 20} MiB"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@contextmanager
def raw_client(target: Target, keys: KeyPair | None, **options: Any) -> Iterator[zmq.Socket[bytes]]:
    """A socket that keeps to nothing of WIRE.md but what it is told to."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as attacker:
        attacker.linger = 0
        attacker.sndhwm = 100
        if keys:
            attacker.curve_publickey, attacker.curve_secretkey = keys.public.encode(), keys.secret.encode()
            attacker.curve_serverkey = options.pop("server_key", target.key).encode()
        for name, value in options.items():
            setattr(attacker, name, value)
        attacker.connect(target.endpoint)
        yield attacker


def malformed(source: random.Random) -> list[bytes]:
    """The parts of a message that no server may take for one."""
    good = [encode(one) for one in (Ping(1), Data(1, 0), Welcome(1, 1.0, 1, 1), Opened(1, 0, 0, False))]
    while True:
        match source.randrange(8):
            case 0:
                parts = [source.randbytes(source.randrange(200))]
            case 1:
                parts = [source.choice(good)] * source.randint(2, 40)
            case 2:
                parts = [b""] * source.randint(1, 40)
            case 3:
                mutated = bytearray(source.choice(good))
                mutated[source.randrange(len(mutated))] ^= 1 << source.randrange(8)
                parts = [bytes(mutated), source.randbytes(source.randrange(100))]
            case 4:
                row: list[object] = [
                    source.choice(KINDS).number,
                    *source.choices([None, -1, 2**63, "", b"", {}, [[]]], k=3),
                ]
                parts = [msgpack.packb(row)]
            case 5:
                parts = [b"\x91" * source.randrange(1, 70_000)]
            case 6:
                parts = [good[0], source.randbytes(source.randrange(1, 100_000))]
            case _:
                parts = [source.choice(good[2:]), b"x"]
        if not is_message(parts):
            return parts


def is_message(parts: list[bytes]) -> bool:
    try:
        envelope: Envelope = decode(parts[0])
        check_payload(envelope, len(parts[1]) if len(parts) > 1 else 0, Sender.CLIENT)
    except WireError:
        return False
    return len(parts) <= 2


def test_ten_thousand_malformed_messages_of_a_client_with_a_key(target: Target) -> None:
    source = random.Random(20_261_121)
    before = target.counts()["malformed"].get("bad", 0)
    with undisturbed(target), raw_client(target, target.bad, routing_id=new_name()) as attacker:
        for _ in range(10_000):
            attacker.send_multipart(malformed(source))
        until(lambda: target.counts()["malformed"].get("bad", 0) == before + 10_000)
        # It has not been punished for what may be a mistake: what is right is still answered.
        attacker.send(encode(Ping(7)))
        assert attacker.poll(10_000)
        assert attacker.recv() == bytes.fromhex("92 49 07")
    assert "good" not in target.counts()["malformed"]


def test_messages_that_are_too_large(target: Target) -> None:
    """ZeroMQ drops the connection before it takes them in."""
    with undisturbed(target):
        for size in (MOST_DATA_BYTES + (1 << 20), 200 << 20):
            with raw_client(target, target.bad, routing_id=new_name()) as attacker:
                events = attacker.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                attacker.send_multipart([encode(Data(1, 0)), bytes(size)], copy=False)
                assert events.poll(10_000), "the connection was not dropped"
                attacker.disable_monitor()
                events.close()


@pytest.mark.parametrize("name", [b"", b"\1", b"\1" + bytes(200), b"\0\xe4\x3c\x98\x69"], ids=bytes.hex)
def test_names_of_connections_that_others_could_guess(target: Target, name: bytes) -> None:
    options: dict[str, Any] = {"routing_id": name} if name else {}
    before = target.counts()["malformed"].get("bad", 0)
    with undisturbed(target), raw_client(target, target.bad, **options) as attacker:
        attacker.send(encode(Ping(1)))
        until(lambda: target.counts()["malformed"].get("bad", 0) == before + 1)
        assert not attacker.poll(50)


def test_names_that_zeromq_would_give_next(target: Target) -> None:
    """Whoever took one of them in advance would abort the server, when it gives that name to somebody else.
    They are foreseen by whoever knows where ``rand()`` begins in a program that never seeds it."""
    first = 0xE43C9869
    with undisturbed(target), ExitStack() as attackers:
        for number in range(50):
            name = b"\0" + struct.pack(">I", first + number)
            attacker = attackers.enter_context(raw_client(target, target.bad, routing_id=name))
            attacker.send(encode(Ping(1)))
        before = target.counts()["malformed"].get("bad", 0)
        for number in range(5):
            with raw_client(target, target.bad) as nameless:
                nameless.send(encode(Ping(1)))
                until(lambda number=number: target.counts()["malformed"]["bad"] > before + number)  # type: ignore[misc]


def test_a_name_that_is_in_use_is_not_taken_over(target: Target) -> None:
    name = new_name()
    with undisturbed(target), raw_client(target, target.good, routing_id=name) as first:
        first.send(encode(Ping(1)))
        assert first.poll(10_000)
        first.recv()
        with raw_client(target, target.bad, routing_id=name) as second:
            second.send(encode(Ping(2)))
            assert not second.poll(500)
            for number in range(20):
                first.send(encode(Ping(number)))
                assert first.poll(10_000)
                assert decode(first.recv()) == Pong(number)
            assert not second.poll(0)


def strangers(target: Target) -> dict[str, Callable[[], Any]]:
    """Who is to be refused: sockets of ZeroMQ that try what is not allowed."""
    return {
        "without a key": lambda: raw_client(target, None),
        "key not on the list": lambda: raw_client(target, new_pair()),
        "another server's key": lambda: raw_client(target, target.bad, server_key=new_pair().public),
        "a password": lambda: raw_client(target, None, plain_username=b"good", plain_password=b"x"),
        "somebody else's public key": lambda: raw_client(
            target, KeyPair(target.good.public, target.bad.secret)
        ),
    }


@pytest.mark.parametrize("kind", list(strangers(None)))  # type: ignore[arg-type]
def test_strangers_get_no_message_through(target: Target, kind: str) -> None:
    before = target.counts()
    with undisturbed(target):
        for _ in range(10):
            with strangers(target)[kind]() as stranger:
                stranger.sndtimeo = 0
                with suppress(zmq.Again):
                    for _ in range(10):
                        stranger.send(encode(Ping(1)))
                assert not stranger.poll(30)
        until(lambda: target.counts()["refused"] >= before["refused"] + 10)
    after = target.counts()
    assert after["malformed"] == before["malformed"]
    assert after["connections"] <= before["connections"] + 1
    last = after["strangers"][-1]
    assert last["address"] in ("127.0.0.1", "")
    assert last["reason"]


def garbage(source: random.Random) -> bytes:
    """What a port scanner, a mistaken program, or a fuzzer sends."""
    noise = source.randbytes(source.randrange(2000))
    return source.choice(
        (
            b"",
            noise,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00" + noise,
            GREETING[: source.randrange(64)],
            GREETING + noise,
            GREETING + b"\x04\xc8\x05HELLO\x01\x00" + source.randbytes(192),
            GREETING + b"\x06\xff\xff\xff\xff\xff\xff\xff\xff" + noise,
            GREETING + b"\x02\x7f\xff\xff\xff\xff\xff\xff\xff" + noise,
            b"\xff" * 64 + noise,
            b"\x01\x00" + noise,
        )
    )


def test_garbage_over_plain_tcp(target: Target) -> None:
    source = random.Random(3)
    before = target.counts()["refused"]
    with undisturbed(target):
        for _ in range(100):
            with socket.create_connection(target.address, timeout=10) as stranger:
                with suppress(ConnectionError):
                    stranger.sendall(garbage(source))
                    if source.random() < 0.3:
                        # Ends the connection by a reset, and not in an orderly way.
                        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: target.counts()["refused"] == before + 100)
    reasons = {one["reason"] for one in target.counts()["strangers"]}
    assert len(reasons) > 1


def test_many_who_say_nothing_are_dropped(target: Target) -> None:
    before = target.counts()
    with undisturbed(target):
        mute = [socket.create_connection(target.address, timeout=10) for _ in range(200)]
        try:
            until(lambda: target.counts()["refused"] >= before["refused"] + 200)
            for one in mute:
                while one.recv(1000):
                    pass  # its greeting, then the end
        finally:
            for one in mute:
                one.close()


def test_a_slow_trickle_ends_too(target: Target) -> None:
    """A byte now and then does not keep a stranger's connection alive."""
    with undisturbed(target), socket.create_connection(target.address, timeout=1) as stranger:
        began = time.monotonic()
        with suppress(ConnectionError):
            for byte in GREETING + bytes(1000):
                stranger.sendall(bytes([byte]))
                time.sleep(0.05)
                assert time.monotonic() - began < 20
        assert time.monotonic() - began < 20
