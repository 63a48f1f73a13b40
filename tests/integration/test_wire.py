"""Client and Server over real sockets: messages, keys, lost connections, slow and silent peers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
import zmq

from mailhaul.proto.archive.draft import MOST_DRAFT_BYTES
from mailhaul.proto.errors import AccessError, BackupError
from mailhaul.proto.wire import door
from mailhaul.proto.wire.client import Arrival, Client, Connected, Happening, Lost
from mailhaul.proto.wire.envelopes import (
    MOST_DATA_BYTES,
    MOST_READ_BYTES,
    Bytes,
    Credit,
    Data,
    Envelope,
    Hello,
    Opened,
    Ping,
    Pong,
    Tell,
    Welcome,
    WireError,
    encode,
)
from mailhaul.proto.wire.keys import KeyPair, make_pair, new_pair, read_allowed, read_pair, read_public
from mailhaul.proto.wire.server import Received, Server
from mailhaul.proto.wire.sockets import Timing

T = TypeVar("T")

LOOPBACK = "tcp://127.0.0.1:0"
LIMIT_SECONDS = 15.0
QUICK = Timing(
    heartbeat=0.1,
    heartbeat_timeout=0.5,
    handshake=0.5,
    connect=0.5,
    reconnect_first=0.02,
    reconnect_most=0.1,
)


def until(turn: Callable[[], T | None]) -> T:
    """Take turns until one gives something."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        found = turn()
        if found is not None:
            return found
    raise AssertionError(f"nothing came within {LIMIT_SECONDS} s")


class Wire:
    """A server and its clients, turned by hand, all in one thread."""

    def __init__(self) -> None:
        self.keys = new_pair()
        self.pairs: dict[str, KeyPair] = {}
        self.allowed: dict[str, str] = {}
        self.trouble: BackupError | OSError | None = None
        self._stack = ExitStack()
        self.server = self.listen()

    def listen(self, endpoint: str = LOOPBACK) -> Server:
        """A server in the place of the one before."""
        self.server = self._stack.enter_context(
            Server(endpoint, self.keys, self._list, most_payload_bytes=MOST_DATA_BYTES, timing=QUICK)
        )
        return self.server

    def client(
        self, host: str = "store01", *, allow: bool = True, server_key: str = "", endpoint: str = ""
    ) -> Client:
        """A client that begins to connect."""
        pair = self.pairs.setdefault(host, new_pair())
        if allow:
            self.allowed[pair.public] = host
        return self._stack.enter_context(
            Client(endpoint or self.server.endpoint, pair, server_key or self.keys.public, timing=QUICK)
        )

    def connected(self, host: str = "store01") -> Client:
        """A client that has connected."""
        client = self.client(host)
        assert self.happens(client) == Connected()
        return client

    def happens(self, client: Client) -> Happening:
        """What happens next to a client, while the server answers the door."""

        def turn() -> tuple[Happening] | None:
            assert self.server.receive(0.0) is None
            happening = client.receive(0.01)
            return None if happening is None else (happening,)

        return until(turn)[0]

    def arrives(self, client: Client) -> Arrival:
        """The message that a client gets next."""
        arrival = until(lambda: client.receive(0.1))
        assert isinstance(arrival, Arrival), arrival
        return arrival

    def received(self) -> Received:
        """What the server receives next."""
        return until(lambda: self.server.receive(0.1))

    def settle(self, condition: Callable[[], bool], *clients: Client) -> None:
        """Turn everything until the condition holds; what happens meanwhile is dropped."""

        def turn() -> bool | None:
            for client in clients:
                client.receive(0.0)
            self.server.receive(0.01)
            return condition() or None

        until(turn)

    def close(self) -> None:
        self._stack.close()

    def _list(self) -> Mapping[str, str]:
        if self.trouble:
            raise self.trouble
        return self.allowed


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    try:
        yield made
    finally:
        made.close()


class TestMessages:
    @pytest.mark.parametrize("size", [1, 4096, (64 << 10) - 1, 64 << 10, 1 << 20, MOST_DATA_BYTES])
    def test_payloads_come_whole(self, wire: Wire, size: int) -> None:
        client = wire.connected()
        sent = os.urandom(size)
        assert client.send(Data(7, 4096), memoryview(sent))
        got = wire.received()
        assert (got.host, got.envelope, bytes(got.payload)) == ("store01", Data(7, 4096), sent)
        back = sent[:MOST_READ_BYTES]
        assert wire.server.send(got.client, Bytes(1, 0), back)
        answer = wire.arrives(client)
        assert (answer.envelope, bytes(answer.payload)) == (Bytes(1, 0), back)

    def test_in_order_and_each_once(self, wire: Wire) -> None:
        client = wire.connected()
        got: list[Envelope] = []
        number = 0
        while len(got) < 2000:
            if number < 2000 and client.send(Tell(b"%d" % number)):
                number += 1
            received = wire.server.receive(0.0)
            if received:
                got.append(received.envelope)
        assert got == [Tell(b"%d" % number) for number in range(2000)]

    def test_payloads_last_longer_than_the_next_message(self, wire: Wire) -> None:
        client = wire.connected()
        sent = [os.urandom(200_000) for _ in range(8)]
        for number, payload in enumerate(sent):
            assert client.send(Data(1, number), payload)
        kept = [wire.received().payload for _ in sent]
        assert [bytes(payload) for payload in kept] == sent

    def test_answers_go_to_the_one_who_asked(self, wire: Wire) -> None:
        clients = {host: wire.connected(host) for host in ("store01", "store02", "store03")}
        for number, client in enumerate(clients.values()):
            assert client.send(Ping(number))
        asked = [wire.received() for _ in clients]
        assert len({one.client for one in asked}) == 3
        for received in asked:
            assert isinstance(received.envelope, Ping)
            assert received.host == list(clients)[received.envelope.number]
            assert wire.server.send(received.client, Pong(received.envelope.number))
        for number, client in enumerate(clients.values()):
            assert wire.arrives(client).envelope == Pong(number)

    def test_two_connections_of_one_host_are_two_clients(self, wire: Wire) -> None:
        first, second = wire.connected(), wire.connected()
        names = set()
        for client in (first, second):
            assert client.send(Ping(1))
            names.add(wire.received().client)
        assert len(names) == 2

    def test_what_is_no_message_is_not_sent(self, wire: Wire) -> None:
        client = wire.connected()
        assert client.send(Ping(1))
        name = wire.received().client
        wrong: list[tuple[Envelope, bytes]] = [
            (Ping(-1), b""),
            (Ping(1), b"x"),
            (Data(1, 0), b""),
            (Data(1, 0), bytes(MOST_DATA_BYTES + 1)),
            (Pong(1), b""),
        ]
        for envelope, payload in wrong:
            with pytest.raises(WireError):
                client.send(envelope, payload)
        wrong = [(Pong(1), b"x"), (Ping(1), b""), (Bytes(1, 0), bytes(MOST_READ_BYTES + 1))]
        for envelope, payload in wrong:
            with pytest.raises(WireError):
                wire.server.send(name, envelope, payload)
        assert client.send(Ping(2))
        assert wire.received().envelope == Ping(2)
        assert wire.server.counts.malformed == {}

    def test_over_ipv6(self, wire: Wire) -> None:
        if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
            pytest.skip("there is no IPv6 here")
        wire.listen("tcp://[::1]:0")
        assert wire.server.endpoint.startswith("tcp://[::1]:")
        client = wire.connected()
        assert client.send(Ping(1))
        assert wire.received().envelope == Ping(1)
        assert wire.server.counts.connections == 1
        stranger = wire.client("stranger", allow=False)
        wire.settle(lambda: wire.server.counts.refused > 0, client)
        assert wire.server.counts.strangers[0].address == "::1"
        with pytest.raises(AccessError):
            until(lambda: stranger.receive(0.1))

    def test_by_the_name_of_the_host(self, wire: Wire) -> None:
        port = wire.server.endpoint.rpartition(":")[2]
        client = wire.client(endpoint=f"tcp://localhost:{port}")
        assert wire.happens(client) == Connected()


class TestKeys:
    def test_only_whose_key_is_listed_comes_in(self, wire: Wire) -> None:
        good = wire.connected()
        stranger = wire.client("stranger", allow=False)
        wire.settle(lambda: wire.server.counts.refused == 1)
        with pytest.raises(AccessError, match="does not allow the key") as caught:
            until(lambda: stranger.receive(0.1))
        assert wire.pairs["stranger"].public in caught.value.message
        assert wire.pairs["stranger"].secret not in caught.value.message
        # From here on every call says so, and no further attempt is made.
        for _ in range(3):
            with pytest.raises(AccessError):
                stranger.receive(0.2)
            with pytest.raises(AccessError):
                stranger.send(Ping(1))
        wire.server.receive(0.1)
        counts = wire.server.counts
        assert (counts.refused, counts.connections) == (1, 1)
        (attempt,) = counts.strangers
        assert attempt.address == "127.0.0.1"
        assert wire.pairs["stranger"].public in attempt.reason
        assert abs(attempt.time - time.time()) < 60
        assert good.send(Ping(1))
        assert wire.received().envelope == Ping(1)

    def test_a_receiver_with_another_key_is_not_believed(self, wire: Wire) -> None:
        client = wire.client(server_key=new_pair().public)
        wire.settle(lambda: wire.server.counts.refused >= 2, client)
        assert not client.send(Ping(1))
        assert client.trouble
        wire.settle(lambda: "is this the key" in client.trouble, client)
        assert wire.server.counts.connections == 0
        assert {stranger.address for stranger in wire.server.counts.strangers} <= {"127.0.0.1", ""}

    def test_the_list_may_grow(self, wire: Wire) -> None:
        stranger = wire.client("store02", allow=False)
        wire.settle(lambda: wire.server.counts.refused == 1)
        with pytest.raises(AccessError):
            until(lambda: stranger.receive(0.1))
        assert wire.happens(wire.client("store02")) == Connected()

    def test_a_key_that_is_taken_off_the_list(self, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(door, "_REVIEW_SECONDS", 0.0)
        other = wire.connected("store02")
        client = wire.connected()
        assert client.send(Ping(1))
        name = wire.received().client
        assert wire.server.send(name, Pong(1))
        del wire.allowed[wire.pairs["store01"].public]
        assert client.send(Ping(2))
        assert other.send(Ping(3))
        assert wire.received().envelope == Ping(3)
        assert not wire.server.send(name, Pong(2))

    def test_a_list_that_cannot_be_read_lets_nobody_new_in_for_now(self, wire: Wire) -> None:
        inside = wire.connected()
        wire.trouble = AccessError("the directory of keys is gone")
        client = wire.client("store02")
        wire.settle(lambda: wire.server.counts.refused >= 2, client)
        assert "the directory of keys is gone" in wire.server.counts.strangers[-1].reason
        assert inside.send(Ping(1))
        wire.trouble = PermissionError("no")
        until(lambda: wire.server.receive(0.1))
        wire.settle(lambda: wire.server.counts.refused >= 4, client)
        wire.trouble = None
        assert wire.happens(client) == Connected()

    def test_with_the_files_of_an_administrator(self, wire: Wire, tmp_path: Path) -> None:
        for name in ("receiver", "store01"):
            make_pair(tmp_path, name)
        with (
            Server(
                LOOPBACK,
                read_pair(tmp_path, "receiver"),
                lambda: read_allowed(tmp_path),
                most_payload_bytes=MOST_DATA_BYTES,
            ) as server,
            Client(
                server.endpoint, read_pair(tmp_path, "store01"), read_public(tmp_path, "receiver")
            ) as client,
        ):
            wire.server.close()
            wire.server = server
            assert wire.happens(client) == Connected()
            assert client.send(Hello(1, "store01"))
            got = wire.received()
            assert (got.host, got.envelope) == ("store01", Hello(1, "store01"))

    def test_what_is_no_key(self, wire: Wire) -> None:
        pair = new_pair()
        for bad in ("", "x" * 39, "x" * 41, "é" * 40, "'" * 40):
            with pytest.raises(AccessError):
                Client(wire.server.endpoint, pair, bad)
            with pytest.raises(AccessError):
                Client(wire.server.endpoint, KeyPair(pair.public, bad), pair.public)
            with pytest.raises(AccessError):
                Server(LOOPBACK, KeyPair(bad, pair.secret), dict, most_payload_bytes=1)


class TestManyAtOnce:
    def test_a_long_list_is_not_read_for_each_of_them(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inside = wire.connected("inside")
        read = wire._list
        reads: list[float] = []

        def slow_list() -> Mapping[str, str]:
            reads.append(time.monotonic())
            time.sleep(0.05)
            return read()

        monkeypatch.setattr(wire.server._door, "_allowed", slow_list)
        clients = [wire.client(f"store{number:02}") for number in range(40)]
        connected: set[int] = set()
        echoes = 0

        def turn() -> bool | None:
            nonlocal echoes
            assert inside.send(Ping(echoes % 1000), timeout_seconds=1.0)
            if wire.server.receive(0.01):
                echoes += 1
            connected.update(at for at, client in enumerate(clients) if client.receive(0.0) == Connected())
            # All may come in at once, with one reading, before the first echo is back.
            return (len(connected) == len(clients) and echoes > len(reads)) or None

        until(turn)
        assert 1 <= len(reads) < 20


class TestEndpoints:
    @pytest.mark.parametrize("endpoint", ["", "x", "tcp://", "tcp://127.0.0.1", "http://127.0.0.1:1"])
    def test_that_are_none(self, wire: Wire, endpoint: str) -> None:
        with pytest.raises(WireError):
            wire.client(endpoint=endpoint or "nonsense")
        with pytest.raises(WireError, match="can't listen"):
            wire.listen(endpoint)

    def test_that_is_taken(self, wire: Wire) -> None:
        with pytest.raises(WireError, match="in use"):
            wire.listen(wire.server.endpoint)

    def test_where_nobody_is(self, wire: Wire) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        client = wire.client(endpoint=f"tcp://127.0.0.1:{port}")
        assert client.receive(0.3) is None
        until(lambda: client.receive(0.05) or (client.trouble == "nothing answers there") or None)
        # Somebody is, later.
        wire.listen(f"tcp://127.0.0.1:{port}")
        assert wire.happens(client) == Connected()
        assert client.trouble == ""

    def test_a_name_that_nobody_knows(self, wire: Wire) -> None:
        client = wire.client(endpoint="tcp://no-such-host.invalid:7400")
        assert client.trouble == "not connected yet"
        until(lambda: client.receive(0.05) or (client.trouble != "not connected yet") or None)
        assert client.trouble == "the name of the host is not known"

    def test_somebody_who_says_nothing(self, wire: Wire) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute, ExitStack() as calls:
            mute.setblocking(False)
            client = wire.client(endpoint=f"tcp://127.0.0.1:{mute.getsockname()[1]}")

            def turn() -> bool | None:
                assert client.receive(0.01) is None
                try:
                    calls.enter_context(mute.accept()[0])
                except BlockingIOError:
                    return None
                return True

            # It is given up, and tried again.
            until(turn)
            until(turn)
            assert "handshake" in client.trouble

    def test_somebody_who_is_no_receiver(self, wire: Wire) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            other.settimeout(LIMIT_SECONDS)
            client = wire.client(endpoint=f"tcp://127.0.0.1:{other.getsockname()[1]}")
            call, _ = other.accept()
            call.sendall(b"220 mail.example.org ESMTP\r\n" * 10)
            until(lambda: client.receive(0.05) or ("handshake" in client.trouble) or None)
            call.close()


class TestLostConnections:
    def test_nothing_is_sent_that_was_meant_for_the_one_before(self, wire: Wire) -> None:
        client = wire.connected()
        assert client.send(Ping(1))
        assert wire.received().envelope == Ping(1)
        wire.server.close()
        # Whatever is still taken goes nowhere; soon nothing is.
        until(lambda: None if client.send(Ping(2), timeout_seconds=0.01) else True)
        wire.listen(wire.server.endpoint)
        wire.settle(lambda: wire.server.counts.connections == 1 or not client.send(Ping(3)))
        # It has connected again, but its user does not know yet.
        for _ in range(20):
            assert not client.send(Ping(4))
            assert wire.server.receive(0.01) is None
        lost = wire.happens(client)
        assert isinstance(lost, Lost)
        assert lost.reason
        assert not client.send(Ping(5))
        assert wire.happens(client) == Connected()
        assert client.send(Hello(1, "store01"))
        assert wire.received().envelope == Hello(1, "store01")

    def test_what_came_before_is_given_out_first(self, wire: Wire) -> None:
        client = wire.connected()
        assert client.send(Ping(1))
        name = wire.received().client
        for number in range(5):
            assert wire.server.send(name, Pong(number))
        time.sleep(0.2)
        wire.server.close()
        time.sleep(0.2)
        seen: list[Happening] = []
        while not any(isinstance(one, Lost) for one in seen):
            happening = client.receive(LIMIT_SECONDS)
            assert happening is not None
            seen.append(happening)
        came = [arrival.envelope for arrival in seen if isinstance(arrival, Arrival)]
        assert came == [Pong(number) for number in range(len(seen) - 1)]

    def test_a_peer_that_was_stopped_is_given_up_and_found_again(self, wire: Wire) -> None:
        pair = new_pair()
        with (
            Echo(wire.keys, pair.public) as echo,
            Client(echo.endpoint, pair, wire.keys.public, timing=QUICK) as client,
        ):
            assert until(lambda: client.receive(0.1)) == Connected()
            echo.signal(signal.SIGSTOP)
            began = time.monotonic()
            assert isinstance(until(lambda: client.receive(0.1)), Lost)
            assert time.monotonic() - began < 10 * QUICK.heartbeat_timeout
            assert client.receive(0.3) is None
            echo.signal(signal.SIGCONT)
            assert until(lambda: client.receive(0.1)) == Connected()
            assert client.send(Ping(7))
            assert wire.arrives(client).envelope == Pong(7)

    def test_a_peer_that_was_killed_and_started_again(self, wire: Wire) -> None:
        pair = new_pair()
        with ExitStack() as stack:
            echo = stack.enter_context(Echo(wire.keys, pair.public))
            client = stack.enter_context(Client(echo.endpoint, pair, wire.keys.public, timing=QUICK))
            assert until(lambda: client.receive(0.1)) == Connected()
            for _ in range(3):
                echo.signal(signal.SIGKILL)
                assert isinstance(until(lambda: client.receive(0.1)), Lost)
                echo = stack.enter_context(Echo(wire.keys, pair.public, echo.endpoint))
                assert until(lambda: client.receive(0.1)) == Connected()
                assert client.send(Ping(7))
                assert wire.arrives(client).envelope == Pong(7)

    def test_a_client_that_is_gone_cannot_be_sent_to(self, wire: Wire) -> None:
        client = wire.connected()
        assert client.send(Ping(1))
        name = wire.received().client
        client.close()
        wire.settle(lambda: not wire.server.send(name, Pong(1)))
        assert wire.server.counts.unsent == 1
        wire.settle(lambda: wire.server.counts.connections == 0)
        assert wire.server.counts.refused == 0


class TestBadReceiver:
    @pytest.mark.parametrize(
        "parts",
        [[b""], [b"junk"], [encode(Ping(1))], [encode(Pong(1)), b"x"], [encode(Pong(1)), b"", b""]],
        ids=["empty", "junk", "of a client", "payload", "parts"],
    )
    def test_what_is_no_message_ends_the_connection(self, wire: Wire, parts: list[bytes]) -> None:
        pair = new_pair()
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.linger = 0
            router.curve_server = True
            router.curve_secretkey = wire.keys.secret.encode()
            port = router.bind_to_random_port("tcp://127.0.0.1")
            with Client(f"tcp://127.0.0.1:{port}", pair, wire.keys.public, timing=QUICK) as client:
                for _ in range(2):
                    assert until(lambda: client.receive(0.1)) == Connected()
                    assert client.send(Ping(1))
                    assert router.poll(10_000)
                    name = router.recv_multipart()[0]
                    router.send_multipart([name, encode(Pong(1))])
                    router.send_multipart([name, *parts])
                    router.send_multipart([name, encode(Pong(2))])
                    assert wire.arrives(client).envelope == Pong(1)
                    lost = until(lambda: client.receive(0.1))
                    assert isinstance(lost, Lost)
                    assert "no message" in lost.reason


class TestSlowPeers:
    def test_a_receiver_that_takes_nothing_holds_the_client_up(self, wire: Wire) -> None:
        client = wire.connected()
        payload = os.urandom(1 << 20)
        sent = 0
        while client.send(Data(1, sent), payload, timeout_seconds=0.3):
            sent += 1
            assert sent < 200
        assert sent >= 16
        for number in range(sent):
            got = wire.received()
            assert (got.envelope, bytes(got.payload)) == (Data(1, number), payload)
        assert client.send(Data(1, sent), payload, timeout_seconds=1.0)

    def test_a_client_that_takes_nothing_does_not_hold_the_receiver_up(self, wire: Wire) -> None:
        slow, quick = wire.connected("store01"), wire.connected("store02")
        for client in (slow, quick):
            assert client.send(Ping(1))
        names = {received.host: received.client for received in (wire.received(), wire.received())}
        payload = os.urandom(MOST_READ_BYTES)
        sent = 0
        while wire.server.send(names["store01"], Bytes(sent, 0), payload):
            sent += 1
            assert sent < 500
        assert wire.server.counts.unsent == 1
        assert wire.server.send(names["store02"], Pong(1))
        assert wire.arrives(quick).envelope == Pong(1)
        for number in range(sent):
            arrival = wire.arrives(slow)
            assert (arrival.envelope, bytes(arrival.payload)) == (Bytes(number, 0), payload)

    def test_the_largest_draft(self, wire: Wire) -> None:
        client = wire.connected()
        assert client.send(Ping(1))
        draft = os.urandom(MOST_DRAFT_BYTES)
        assert wire.server.send(wire.received().client, Opened(1, 2**40, 2**20, False), draft)
        assert wire.arrives(client).payload == draft


class TestWaking:
    def test_from_another_thread(self, wire: Wire) -> None:
        client = wire.connected()
        for waiter in (wire.server, client):
            timer = threading.Timer(0.2, waiter.wake)
            timer.start()
            began = time.monotonic()
            assert waiter.receive(LIMIT_SECONDS) is None
            assert time.monotonic() - began < LIMIT_SECONDS / 2
            timer.join()

    def test_before_it_waits(self, wire: Wire) -> None:
        client = wire.connected()
        for waiter in (wire.server, client):
            waiter.wake()
            waiter.wake()
            began = time.monotonic()
            assert waiter.receive(LIMIT_SECONDS) is None
            assert time.monotonic() - began < LIMIT_SECONDS / 2
            # Once is enough for both.
            assert waiter.receive(0.05) is None

    def test_a_message_is_not_lost_by_it(self, wire: Wire) -> None:
        client = wire.connected()
        wire.server.wake()
        assert client.send(Ping(1))
        assert wire.received().envelope == Ping(1)

    def test_after_the_end(self, wire: Wire) -> None:
        client = wire.connected()
        for one in (client, wire.server):
            one.close()
            one.close()
            one.wake()


def test_everything_is_given_back(wire: Wire) -> None:
    """Connections that come and go leave neither descriptors nor threads behind."""

    def in_use() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    def visit() -> None:
        client = wire.connected()
        client.send(Data(1, 0), os.urandom(1 << 20))
        assert wire.received().envelope == Data(1, 0)
        client.close()

    visit()
    wire.settle(lambda: wire.server.counts.connections == 0)
    before = in_use()
    for _ in range(20):
        visit()
    wire.settle(lambda: wire.server.counts.connections == 0 and in_use() <= before)


def test_envelopes_of_a_whole_backup(wire: Wire) -> None:
    """The order of WIRE.md, "A backup", once over the sockets."""
    client = wire.connected()
    assert client.send(Hello(1, "store01"))
    name = wire.received().client
    assert wire.server.send(name, Welcome(1, 30.0, 8 << 20, 1 << 20))
    assert wire.arrives(client).envelope == Welcome(1, 30.0, 8 << 20, 1 << 20)
    written, until_offset = 0, 2 << 20
    for _ in range(10):
        assert written < until_offset
        assert client.send(Data(1, written), os.urandom(1 << 20), timeout_seconds=1.0)
        got = wire.received()
        assert got.envelope == Data(1, written)
        written += len(got.payload)
        assert wire.server.send(name, Credit(1, written + (2 << 20), written, ""))
        credit = wire.arrives(client).envelope
        assert isinstance(credit, Credit)
        until_offset = credit.until


class Echo:
    """A server in a process of its own that answers each Ping."""

    PROGRAM = """
import sys
from mailhaul.proto.wire.envelopes import Ping, Pong
from mailhaul.proto.wire.keys import KeyPair
from mailhaul.proto.wire.server import Server
endpoint, public, secret, allowed = sys.argv[1:]
with Server(endpoint, KeyPair(public, secret), lambda: {allowed: "store01"}, most_payload_bytes=1) as server:
    print(server.endpoint, flush=True)
    while True:
        received = server.receive(1.0)
        if received and isinstance(received.envelope, Ping):
            server.send(received.client, Pong(received.envelope.number))
"""

    def __init__(self, keys: KeyPair, allowed: str, endpoint: str = LOOPBACK) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", self.PROGRAM, endpoint, keys.public, keys.secret, allowed],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.endpoint = self._process.stdout.readline().strip()
        assert self.endpoint, "the server did not start"

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(LIMIT_SECONDS)
        assert self._process.stdout
        self._process.stdout.close()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait(LIMIT_SECONDS)
