"""A worker's connection: greeting, the lease, who gets which answer, turns for all who wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import cast

import pytest

from mailhaul.proto.errors import (
    AccessError,
    BackupError,
    DamagedError,
    FencedError,
    LeaseLostError,
    NotFoundError,
    StagingError,
)
from mailhaul.proto.wire.client import Arrival, Client, Connected, Lost
from mailhaul.proto.wire.envelopes import (
    VERSION,
    Bytes,
    Close,
    Credit,
    Envelope,
    Found,
    Hello,
    Ping,
    Refused,
    Told,
    Welcome,
    encode,
)
from mailhaul.worker.staging.connection import Answer, Connection, FairLock, Line
from mailhaul.worker.staging.flow import CLOSED, error_of, refusal

WELCOME = Welcome(VERSION, 100.0, 8 << 20, 1 << 20)


class Wire:
    """A client whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[Envelope] = []
        self.happenings: deque[Arrival | Connected | Lost | AccessError] = deque()
        self.closed = False

    def receive(self, _timeout_seconds: float) -> Arrival | Connected | Lost | None:
        happening = self.happenings.popleft() if self.happenings else None
        if isinstance(happening, AccessError):
            raise happening
        return happening

    def send(self, envelope: Envelope, _payload: bytes = b"", timeout_seconds: float = 0.0) -> bool:
        if not isinstance(envelope, Ping):
            self.sent.append(envelope)
        return True

    def wake(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Recorder(Line):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def greeted(self) -> None:
        self.heard.append("greeted")

    def answered(self, envelope: Answer, payload: memoryview) -> None:
        self.heard.append((envelope, bytes(payload)))

    def told(self, host: str, event: bytes) -> None:
        self.heard.append((host, event))

    def failed(self, error: BackupError) -> None:
        self.heard.append(type(error))


class World:
    """A connection, its wire, and time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wire = Wire()
        self.connection = Connection(cast(Client, self.wire), "store01", 100.0, clock=lambda: self.now)

    def line(self) -> tuple[int, Recorder]:
        recorder = Recorder()
        with self.connection.lock:
            number = self.connection.new_number()
            self.connection.attach(number, recorder)
        return number, recorder

    def happens(self, *happenings: Envelope | Connected | Lost | AccessError, payload: bytes = b"") -> None:
        with self.connection.lock:
            for happening in happenings:
                known = isinstance(happening, Connected | Lost | AccessError)
                self.wire.happenings.append(happening if known else Arrival(happening, memoryview(payload)))  # type: ignore[arg-type]
            self.connection.turn(0.0)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.connection.close()
    assert world.wire.closed


def test_it_greets_and_is_greeted(world: World) -> None:
    _, early = world.line()
    assert early.heard == []
    world.happens(Connected())
    assert world.wire.sent == [Hello(VERSION, "store01")]
    assert not world.connection.is_up
    world.happens(WELCOME)
    assert world.connection.is_up
    _, late = world.line()
    assert early.heard == late.heard == ["greeted"]
    world.happens(Lost("gone"))
    assert not world.connection.is_up
    with world.connection.lock:
        assert not world.connection.send(Close(1))
    world.happens(Connected(), WELCOME)
    assert early.heard == late.heard == ["greeted", "greeted"]


def test_answers_go_to_who_has_asked(world: World) -> None:
    (one, first), (two, second) = world.line(), world.line()
    world.happens(Credit(one, 10, 5, ""))
    world.happens(Bytes(two, 0), payload=b"data")
    world.happens(Found(two, 7), Found(99, 7), Refused("request", two, "not-found", "no", False))
    assert first.heard == [(Credit(one, 10, 5, ""), b"")]
    assert [told for told, _ in cast(list[tuple[object, bytes]], second.heard)] == [
        Bytes(two, 0),
        Found(two, 7),
        Refused("request", two, "not-found", "no", False),
    ]
    assert second.heard[0] == (Bytes(two, 0), b"data")
    with world.connection.lock:
        world.connection.detach(one)
    world.happens(Credit(one, 20, 15, ""), Told("store02", b"event"))
    assert len(first.heard) == 1
    assert second.heard[-1] == ("store02", b"event")


def test_a_receiver_that_has_forgotten_it_is_greeted_again(world: World) -> None:
    _, line = world.line()
    world.happens(Connected(), WELCOME, *[Refused("hello", 0, CLOSED, "greet first", True)] * 3)
    assert world.wire.sent == [Hello(VERSION, "store01")] * 2
    world.happens(WELCOME)
    assert line.heard == ["greeted", "greeted"]


def test_a_receiver_that_does_not_want_it(world: World) -> None:
    _, line = world.line()
    world.happens(Connected(), Refused("hello", 0, "access", "another version", False))
    assert line.heard == [AccessError]
    world.happens(AccessError("the key is not allowed"))
    assert line.heard == [AccessError, AccessError]


def test_the_lease_of_each_line_begins_with_the_line(world: World) -> None:
    _, early = world.line()
    world.happens(Connected(), WELCOME)
    world.now += 99
    world.happens()
    assert early.heard == ["greeted"]
    _, late = world.line()
    world.now += 2
    world.happens()
    assert early.heard == ["greeted", LeaseLostError]
    assert late.heard == ["greeted"]
    world.now += 99
    world.happens()
    assert late.heard == ["greeted", LeaseLostError]


def test_whatever_is_heard_renews_the_lease(world: World) -> None:
    number, line = world.line()
    world.happens(Connected(), WELCOME)
    for _ in range(10):
        world.now += 90
        world.happens(Credit(number, 1, 1, ""))
    assert LeaseLostError not in line.heard


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("access", AccessError),
        ("fenced", FencedError),
        ("damaged", DamagedError),
        ("not-found", NotFoundError),
        ("staging", StagingError),
        ("of a later version", StagingError),
    ],
)
def test_a_refusal_is_the_error_that_it_was(code: str, kind: type[BackupError]) -> None:
    error = error_of(Refused("stream", 1, code, "the message", False))
    assert type(error) is kind
    assert error.message == "the message"
    assert kind is not type(error) or error_of(refusal("stream", 1, error)).message == "the message"


def test_a_message_that_is_no_text_or_very_long() -> None:
    refused = refusal("request", 5, StagingError("can't write \udcff" + "x" * 10_000))
    assert refused.message.startswith("can't write \\udcffxxx")
    encode(refused)


def test_who_waits_for_the_lock_gets_it() -> None:
    """However often the one who has it would take it again."""
    woken = threading.Event()
    lock = FairLock(woken.set)
    served: list[int] = []

    def serve(number: int) -> None:
        with lock:
            served.append(number)

    lock.__enter__()
    others = [threading.Thread(target=serve, args=(number,)) for number in range(5)]
    for thread in others:
        thread.start()
    assert woken.wait(30)
    turns = 0
    while len(served) < 5:
        lock.give_way()
        turns += 1
    lock.__exit__()
    for thread in others:
        thread.join()
    assert sorted(served) == [0, 1, 2, 3, 4]
    assert lock.try_enter()
    assert not lock.try_enter()
