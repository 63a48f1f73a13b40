"""A host with a key asks the coordinator for anything at all: no question does harm, and the others go on."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from mailhaul.coordinator.cli.operation_words import checked, is_harmless
from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.people.audit import AuditLog
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import NOT_ENDED
from mailhaul.coordinator.serving.asking import ask
from mailhaul.coordinator.serving.host_requests import MOST_REFUSALS, MOST_WAITING, HostAsk, HostRequests
from mailhaul.proto.errors import AccessError, BackupError, StagingError, UsageError
from mailhaul.proto.wire.client import Arrival, Client, Connected
from mailhaul.proto.wire.envelopes import MOST_ASK_BYTES, VERSION, Ask, Hello, Refused, Reply, Welcome
from mailhaul.proto.wire.keys import read_pair, read_public
from mailhaul.worker.staging.asking import MOST_AT_ONCE, OpenQuestions
from mailhaul.worker.staging.receiver import Receiver, ReceiverSettings

from ..receiving import SECRET, Place, make_place

HOSTILE = [
    b"",
    b"\xff\xfe\x00",
    b"[" * 50_000,
    b'{"command":' * 5_000,
    b"{}",
    b"[]",
    b"null",
    b"NaN",
    b'{"command": "drop"}',
    b'{"command": "add"}',
    b'{"command": "_refuse"}',
    b'{"command": "add", "kind": "backup", "arguments": "/etc"}',
    b'{"command": "add", "kind": "backup", "arguments": [1]}',
    b'{"command": "add", "kind": "backup", "arguments": ["\\u0000"]}',
    b'{"command": "add", "kind": "backup", "arguments": ["\\ud800"]}',
    b'{"command": "add", "kind": "backup", "arguments": ["--help"]}',
    b'{"command": "add", "kind": "backup", "arguments": ["/\\u001b[2J"]}',
    b'{"command": "add", "kind": "operations", "arguments": ["add", "purge"]}',
    b'{"command": "add", "kind": "../cli/main", "arguments": []}',
    b'{"command": "add", "kind": "restore", "arguments": ["/", "--to", "tar:/etc/cron.d/x"]}',
    b'{"command": "add", "kind": "backup", "asked_by": "cli:root", "arguments": ["--users", "/etc/shadow"]}',
    b'{"command": "show", "operations": [-1]}',
    b'{"command": "show", "operations": [1e400]}',
    b'{"command": "show", "operations": [true]}',
    b'{"command": "show", "operations": [999999999999999999999999999999]}',
    b'{"command": "stop", "operations": [1], "everything": true}',
    b'{"command": "list", "last": -9}',
    b'{"command": "list", "last": 99999999999}',
    b'{"command": "list", "command": "drop"}',
]


@contextmanager
def receiving(place: Place) -> Iterator[Place]:
    """A receiver that has questions answered, in a thread; store01 is not trusted, staging is."""
    requests = HostRequests(
        place.area,
        lambda: ["staging"],
        lambda kind, arguments: checked(kind, arguments, elsewhere=True),
        is_harmless,
        lambda: utc(time.time()),
        lambda _name, _fields: None,
        lambda _numbers: None,
    )
    stop = threading.Event()
    with place.server() as server:
        receiver = Receiver(place.area, server, SECRET, ReceiverSettings(), asked=requests)
        thread = threading.Thread(target=receiver.run, args=(stop.is_set,))
        thread.start()
        try:
            yield place.at(server.endpoint)
        finally:
            stop.set()
            server.wake()
            thread.join()
            receiver.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with receiving(make_place(tmp_path / "staging")) as found:
        yield found


class Bad:
    """A client with the key of a host, that says what it likes."""

    def __init__(self, place: Place, host: str) -> None:
        keys = read_pair(place.keys, host), read_public(place.keys, "receiver")
        self.client = Client(place.endpoint, *keys)
        assert self.client.receive(30) == Connected()
        self.client.send(Hello(VERSION, host), timeout_seconds=30)
        assert isinstance(self.heard(), Welcome)

    def heard(self) -> object:
        happening = self.client.receive(30)
        assert isinstance(happening, Arrival), happening
        return happening.envelope

    def asks(self, payload: bytes) -> object:
        assert self.client.send(Ask(7), payload, 30)
        return self.heard()


def test_no_question_does_harm(place: Place) -> None:
    bad = Bad(place, "store01")
    memory = psutil.Process().memory_info().rss
    answers = []
    for payload in HOSTILE[1:]:
        while True:
            answer = bad.asks(payload)
            if not (isinstance(answer, Refused) and "too often" in answer.message):
                break
            time.sleep(0.3)
        answers.append(answer)
        assert isinstance(answer, Refused) == (b'"last"' not in payload), payload[:80]
    codes = {refused.code for refused in answers if isinstance(refused, Refused)}
    assert codes == {"usage"}
    assert Operations(place.area).newest(9) == ()
    assert psutil.Process().memory_info().rss - memory < 64 << 20
    # Who asks is the host of the key.
    answer = ask(place.endpoint, place.keys, "staging", HostAsk(command="add", kind="purge"))
    assert answer.operations[0].request.asked_by == "key:staging"
    bad.client.close()


def test_random_questions(place: Place) -> None:
    source = random.Random(5)
    requests = HostRequests(
        place.area, lambda: ["store01"], lambda kind, words: checked(kind, words, elsewhere=True),
        is_harmless, lambda: utc(time.time()), lambda _name, _fields: None, lambda _numbers: None,
    )  # fmt: skip
    whole = json.dumps({"command": "add", "kind": "sweep", "arguments": ["/a"], "reason": "x"}).encode()
    for _ in range(100):
        mutated = bytearray(whole)
        for _ in range(source.randrange(1, 6)):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        with suppress(UsageError, AccessError):  # nothing else
            for state in Operations(place.area).in_states(NOT_ENDED):
                Operations(place.area).withdraw(state.id, utc(time.time()))
            requests("store01", bytes(mutated))
    assert {operation.request.asked_by for operation in Operations(place.area).newest(1000)} <= {
        "key:store01"
    }
    assert {one.request.kind for one in Operations(place.area).newest(1000)} <= {"sweep"}
    assert list(AuditLog(place.area).flaws()) == []


def test_who_asks_too_often_is_refused_and_others_are_not(place: Place) -> None:
    bad = Bad(place, "store01")
    refused = 0
    for _ in range(MOST_AT_ONCE + 10):
        answer = bad.asks(b'{"command": "list"}')
        refused += isinstance(answer, Refused) and "store01 asks too often" in answer.message
    assert refused > 0
    assert ask(place.endpoint, place.keys, "store02", HostAsk(command="list")).operations == ()
    with pytest.raises(StagingError, match="asks too often"):
        ask(place.endpoint, place.keys, "store01", HostAsk(command="list"))
    bad.client.close()


def test_many_questions_at_once_are_answered_one_by_one(place: Place) -> None:
    bad = Bad(place, "store01")
    for number in range(8):
        assert bad.client.send(Ask(number), b'{"command": "list"}' + b" " * 60_000, 30)
    answers = [bad.heard() for _ in range(8)]
    assert all(isinstance(answer, Reply | Refused) for answer in answers)
    assert any(isinstance(one, Reply) for one in answers)
    bad.client.close()


def test_a_host_fills_no_queue(place: Place) -> None:
    requests = HostRequests(
        place.area, lambda: ["store01"], lambda _kind, words: tuple(words), lambda _kind, _words: True,
        lambda: utc(time.time()), lambda _name, _fields: None, lambda _numbers: None,
    )  # fmt: skip
    question = b'{"command": "add", "kind": "backup"}'
    for _ in range(MOST_WAITING):
        requests("store01", question)
    with pytest.raises(StagingError, match="store01 has asked for wait or run"):
        requests("store01", question)
    assert requests("store02", question)


def test_hosts_that_are_not_trusted_ask_for_one_of_a_kind_a_day(place: Place) -> None:
    now = time.time()
    requests = HostRequests(
        place.area, lambda: ["staging"], lambda _kind, words: tuple(words), lambda _kind, _words: True,
        lambda: utc(now), lambda _name, _fields: None, lambda _numbers: None,
    )  # fmt: skip
    question = b'{"command": "add", "kind": "backup"}'
    requests("staging", question)
    requests("store01", question)
    for host in ("store01", "store02"):
        with pytest.raises(StagingError, match="less than a day ago"):
            requests(host, question)
    requests("staging", question)
    requests("store02", b'{"command": "add", "kind": "sweep"}')
    now += 86_401
    requests("store02", question)


def test_a_host_does_not_fill_the_audit_log(place: Place) -> None:
    requests = HostRequests(
        place.area, list, lambda _kind, words: tuple(words), lambda kind, _words: kind == "backup",
        lambda: utc(time.time()), lambda _name, _fields: None, lambda _numbers: None,
    )  # fmt: skip
    for _ in range(2 * MOST_REFUSALS):
        with pytest.raises(AccessError):
            requests("store01", b'{"command": "add", "kind": "purge"}')
    log = AuditLog(place.area)
    assert len(list(log.acts())) == MOST_REFUSALS
    requests("store01", b'{"command": "add", "kind": "backup"}')
    (operation,) = Operations(place.area).newest(1)
    Operations(place.area).begin(operation.id, 2**22 + 1, utc(time.time()))
    for _ in range(2):
        requests("store01", b'{"command": "stop", "operations": [%s]}' % b", ".join([b"1"] * 150))
    assert len(list(log.acts())) == MOST_REFUSALS + 4


def test_a_question_that_is_too_long_never_arrives(place: Place) -> None:
    bad = Bad(place, "store01")
    with pytest.raises(BackupError, match="must not have a payload"):
        bad.client.send(Ask(1), bytes(MOST_ASK_BYTES + 1), 30)
    bad.client.close()
    with pytest.raises(BackupError, match="too long to be sent"):
        ask(
            place.endpoint,
            place.keys,
            "store01",
            HostAsk(command="add", kind="backup", arguments=("x" * MOST_ASK_BYTES,)),
        )


def test_how_often_a_host_may_ask() -> None:
    now = 0.0
    questions = OpenQuestions(lambda: now)

    def admitted() -> int:
        count = 0
        try:
            while True:
                questions.admit(b"client", "store01")
                questions.answered(b"client")
                count += 1
        except StagingError:
            return count

    assert admitted() == MOST_AT_ONCE
    now += 5
    assert admitted() == 5
    now += 1e6
    assert admitted() == MOST_AT_ONCE
    questions.admit(b"other", "store02")
    with pytest.raises(StagingError, match="that wait for an answer"):
        questions.admit(b"other", "store02")
