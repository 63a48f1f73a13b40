"""What the receiver decides about streams: driven with envelopes, and with a disk that is a dictionary."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mailhaul.proto.errors import AccessError, FencedError, StagingError
from mailhaul.proto.wire.envelopes import (
    Checkpoint,
    Close,
    Credit,
    Data,
    Durable,
    Envelope,
    Open,
    Opened,
    Refused,
    Seal,
    Sealed,
)
from mailhaul.proto.wire.grants import Grant
from mailhaul.worker.staging.flow import CHUNK_BYTES, CLOSED
from mailhaul.worker.staging.intake import Effect, Intake, Limits, Note, Send, StreamEnvelope
from mailhaul.worker.staging.space import FULL
from mailhaul.worker.staging.stream import (
    Appended,
    CloseFile,
    Done,
    Failed,
    FileClosed,
    FileOpened,
    FileSealed,
    Job,
    OpenFile,
    SealFile,
    Stream,
)

FILE = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
OTHER = "primary/user/20261121T031500Z-4f3a.1.0123456789abcdef.mha"

KEPT = ".mailhaul/restores/20261121T031500Z-4f3a/before.1.0011223344556677"
SENT = f"{KEPT}.0123456789abcdef"


def token(file: str = FILE, epoch: int = 1, host: str = "store01", kind: str = "write") -> bytes:
    return f"{kind} {host} {file} {epoch}".encode()


def check_grant(token: bytes, host: str) -> Grant:
    kind, granted, file, epoch = token.decode().split()
    if granted != host:
        raise AccessError("a grant for another host")
    return Grant(kind=kind, host=granted, file=file, epoch=int(epoch), expires=10**12)


@dataclass
class Disk:
    """Files by name; a file is open for one stream at a time. ``room`` is how much may still be written."""

    room: int = 1 << 40
    files: dict[str, bytearray] = field(default_factory=dict)
    sealed: dict[str, bytes] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    open: dict[int, str] = field(default_factory=dict)
    checkpoints: list[int] = field(default_factory=list)
    broken: bool = False
    lack: int = errno.ENOSPC

    def perform(self, job: Job) -> Done:
        if self.broken:
            return Failed(job.stream, StagingError("the disk is broken"))
        if isinstance(job, OpenFile):
            return self._open(job)
        if isinstance(job, CloseFile):
            del self.open[job.stream]
            return FileClosed(job.stream)
        name = self.open[job.stream]
        if isinstance(job, SealFile):
            assert len(self.files[name]) == job.size_bytes
            self.sealed[name] = bytes(self.files.pop(name))
            del self.open[job.stream]
            return FileSealed(job.stream, job.size_bytes)
        for number, batch in enumerate(job.batches):
            if len(batch) > self.room:
                return Appended(job.stream, number, False, self.lack)
            self.room -= len(batch)
            self.files[name] += batch
        if job.checkpoint:
            self.checkpoints.append(len(self.files[name]))
        return Appended(job.stream, len(job.batches), True)

    def _open(self, job: OpenFile) -> Done:
        name, epoch, have = job.asked.file, job.asked.epoch, job.asked.have
        assert name not in self.open.values(), "a file is written by one stream at a time"
        if name in self.sealed:
            return FileSealed(job.stream, len(self.sealed[name]))
        if self.epochs.get(name, 0) > epoch:
            return Failed(job.stream, FencedError("a later attempt"))
        self.epochs[name] = epoch
        data = self.files.setdefault(name, bytearray())
        if have == 0:
            self.room += len(data)
            data.clear()
        if have > len(data):
            return Failed(job.stream, StagingError("there is less"))
        self.open[job.stream] = name
        return FileOpened(job.stream, len(data), 0, b"draft" if have < 0 and data else b"")


class House:
    """An intake with its disk and its clients. Jobs wait until ``work`` does them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.disk = Disk()
        self.intake = Intake(limits or Limits(), check_grant)
        self.now = 1000.0
        self.jobs: deque[Job] = deque()
        self.told: list[tuple[bytes, Envelope, bytes]] = []
        self.notes: list[str] = []

    def tell(
        self, envelope: StreamEnvelope, payload: bytes = b"", client: bytes = b"a", host: str = "store01"
    ) -> None:
        self.carry_out(self.intake.received(client, host, envelope, memoryview(payload), self.now))

    def carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.told.append((effect.client, effect.envelope, effect.payload))
            elif isinstance(effect, Note):
                self.notes.append(effect.event)
            else:
                self.jobs.append(effect)

    def work(self, jobs: int = 1000) -> None:
        while self.jobs and jobs:
            self.carry_out(self.intake.done(self.disk.perform(self.jobs.popleft()), self.now))
            jobs -= 1

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.intake.tick(self.now))

    def heard(self, client: bytes = b"a") -> list[Envelope]:
        """What this client was told since it was asked last."""
        heard = [envelope for to, envelope, _ in self.told if to == client]
        self.told = [one for one in self.told if one[0] != client]
        return heard

    def opened(self, *, epoch: int = 1, client: bytes = b"a", file: str = FILE, stream: int = 7) -> None:
        self.tell(Open(stream, token(file, epoch), -1), client=client)
        self.work()
        opened, _ = self.heard(client)
        assert isinstance(opened, Opened)


def refusal(heard: list[Envelope]) -> Refused:
    (only,) = heard
    assert isinstance(only, Refused)
    assert only.what == "stream"
    return only


def test_an_archive_from_open_to_seal() -> None:
    house = House()
    house.tell(Open(7, token(), -1))
    assert house.heard() == []
    house.work()
    assert house.heard() == [Opened(7, 0, 0, False), Credit(7, 8 << 20, 0, "")]
    house.tell(Data(7, 0), b"one ")
    house.tell(Data(7, 4), b"two")
    house.tell(Checkpoint(7, 4))
    assert house.heard() == []
    house.work()
    assert house.heard()[-1] == Credit(7, (8 << 20) + 7, 7, "")
    assert house.disk.checkpoints == [7]
    house.tell(Seal(7, 7))
    house.work()
    assert house.heard() == [Sealed(7, 7)]
    assert house.disk.sealed == {FILE: b"one two"}
    assert not list(house.intake.streams())
    assert house.notes == ["stream.opened", "stream.sealed"]
    assert house.intake.counts.received_bytes == 7
    assert house.intake.counts.seals == 1


def test_the_seal_waits_for_the_data() -> None:
    house = House()
    house.opened()
    house.tell(Data(7, 0), b"data")
    house.tell(Seal(7, 4))
    house.work(1)
    assert house.disk.sealed == {}
    house.work()
    assert house.heard()[-1] == Sealed(7, 4)


def test_a_sealed_archive_is_told_of_and_never_written() -> None:
    house = House()
    house.disk.sealed[FILE] = b"whole"
    house.tell(Open(7, token(), -1))
    house.work()
    assert house.heard() == [Opened(7, 5, 0, True)]
    house.tell(Data(7, 5), b"more")
    assert refusal(house.heard()).code == CLOSED
    assert not list(house.intake.streams())


def test_a_new_attempt_gets_the_draft() -> None:
    house = House()
    house.disk.files[FILE] = bytearray(b"there")
    house.tell(Open(7, token(epoch=2), -1))
    house.work()
    assert house.told[0] == (b"a", Opened(7, 5, 0, False), b"draft")
    assert house.disk.epochs[FILE] == 2


class TestRefused:
    @pytest.mark.parametrize(
        ("shown", "host"),
        [
            (token(), "store02"),
            (token(kind="read"), "store01"),
            (token(file="../user/x.0.0123456789abcdef.mha"), "store01"),
            (token(file=".mailhaul/x/y.0.0123456789abcdef.mha"), "store01"),
            (token(file=KEPT), "store01"),
            (token(file=f"{SENT}/../x"), "store01"),
            (token(file=f"/{SENT}"), "store01"),
            (token(file=SENT), "store02"),
            (token(file=SENT, kind="read"), "store01"),
        ],
    )
    def test_without_a_fitting_grant(self, shown: bytes, host: str) -> None:
        house = House()
        house.tell(Open(7, shown, -1), host=host)
        answer = refusal(house.heard())
        assert (answer.code, answer.number, answer.retryable) == ("access", 7, False)
        assert not house.jobs
        assert house.intake.counts.refused == 1
        assert house.notes == ["stream.refused"]

    def test_what_is_kept_before_a_restore_only_under_its_own_name(self) -> None:
        house = House()
        house.tell(Open(7, token(file=SENT), -1))
        (opened,) = house.jobs
        assert isinstance(opened, OpenFile)
        assert opened.asked.file == SENT

    @pytest.mark.parametrize(
        ("envelope", "payload"),
        [
            (Data(7, 3), b"data"),
            (Data(7, 5), b"data"),
            (Data(7, 4), b""),
            (Data(7, 4), bytes((8 << 20) + 1)),
            (Checkpoint(7, 5), b""),
            (Seal(7, 3), b""),
            (Seal(7, 5), b""),
        ],
        ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else repr(value),
    )
    def test_what_does_not_follow(self, envelope: StreamEnvelope, payload: bytes) -> None:
        house = House()
        house.opened()
        house.tell(Data(7, 0), b"data")
        house.tell(envelope, payload)
        assert refusal(house.heard()).code == "staging"
        house.work()
        assert house.heard() == []
        assert not house.disk.open
        assert not list(house.intake.streams())

    def test_more_than_was_granted(self) -> None:
        house = House(Limits(window_bytes=2 << 20))
        house.opened()
        house.tell(Data(7, 0), bytes(1 << 20))
        house.tell(Data(7, 1 << 20), bytes(1 << 20))
        assert house.heard() == []
        house.tell(Data(7, 2 << 20), b"x")
        assert refusal(house.heard()).code == "staging"

    def test_data_of_a_stream_that_is_not_open(self) -> None:
        house = House()
        house.tell(Data(9, 0), b"data")
        answer = refusal(house.heard())
        assert (answer.number, answer.code, answer.retryable) == (9, CLOSED, True)
        house.tell(Close(9))
        assert house.heard() == []

    def test_data_while_the_file_is_being_opened(self) -> None:
        house = House()
        house.tell(Open(7, token(), -1))
        house.tell(Data(7, 0), b"data")
        assert refusal(house.heard()).code == "staging"
        house.work()
        assert not house.disk.open
        assert not list(house.intake.streams())

    def test_the_same_again(self) -> None:
        house = House()
        house.opened()
        house.tell(Data(7, 0), b"data")
        house.work()
        house.heard()
        house.tell(Open(7, token(), 2))
        assert house.heard()[0] == Opened(7, 4, 0, False)
        house.tell(Open(7, token(), -1))
        house.work()
        assert house.heard()[0] == Opened(7, 4, 0, False)
        house.tell(Data(7, 4), b"more")
        house.work()
        assert house.disk.files[FILE] == b"datamore"

    def test_a_number_that_is_taken(self) -> None:
        house = House()
        house.opened()
        house.tell(Open(7, token(OTHER), -1))
        assert refusal(house.heard()).code == "access"
        house.tell(Data(7, 0), b"data")
        house.work()
        assert house.disk.files == {FILE: bytearray(b"data")}

    def test_a_disk_that_fails(self) -> None:
        house = House()
        house.opened()
        house.tell(Data(7, 0), b"data")
        house.disk.broken = True
        house.work(1)
        answer = refusal(house.heard())
        assert (answer.code, answer.retryable) == ("staging", True)
        house.disk.broken = False
        house.work()
        assert not house.disk.open

    def test_a_file_that_can_not_be_opened(self) -> None:
        house = House()
        house.disk.epochs[FILE] = 5
        house.tell(Open(7, token(epoch=4), -1))
        house.work()
        answer = refusal(house.heard())
        assert (answer.code, answer.retryable) == ("fenced", False)
        assert not list(house.intake.streams())


class TestFence:
    def test_a_later_attempt_takes_the_file_away(self) -> None:
        house = House()
        house.opened(epoch=1, client=b"a")
        house.tell(Data(7, 0), b"old ", client=b"a")
        house.tell(Open(3, token(epoch=2), -1), client=b"b")
        assert refusal(house.heard(b"a")).code == "fenced"
        house.tell(Data(7, 4), b"older", client=b"a")
        assert refusal(house.heard(b"a")).code == CLOSED
        assert house.heard(b"b") == []
        house.work()
        opened = house.heard(b"b")[0]
        assert isinstance(opened, Opened)
        # What was on its way to the disk may be there or not; it is part of what the new one continues.
        assert bytes(house.disk.files[FILE]) == b"old "[: opened.size]
        house.tell(Data(3, opened.size), b"new", client=b"b")
        house.work()
        assert house.disk.files[FILE].endswith(b"new")
        assert b"older" not in house.disk.files[FILE]
        assert house.intake.counts.fenced == 1
        assert house.notes == ["stream.opened", "stream.fenced", "stream.opened"]

    def test_an_earlier_attempt_is_refused(self) -> None:
        house = House()
        house.opened(epoch=5, client=b"a")
        house.tell(Open(3, token(epoch=4), -1), client=b"b")
        assert refusal(house.heard(b"b")).code == "fenced"
        house.tell(Data(7, 0), b"data")
        house.work()
        assert house.disk.files[FILE] == b"data"

    def test_of_several_that_wait_the_latest_gets_it(self) -> None:
        house = House()
        house.opened(epoch=1, client=b"a")
        for epoch, client in ((2, b"b"), (4, b"c"), (3, b"d")):
            house.tell(Open(1, token(epoch=epoch), -1), client=client)
        assert refusal(house.heard(b"b")).code == "fenced"
        assert refusal(house.heard(b"d")).code == "fenced"
        house.work()
        assert isinstance(house.heard(b"c")[0], Opened)
        assert house.disk.epochs[FILE] == 4

    def test_another_host_with_the_same_epoch(self) -> None:
        house = House()
        house.opened()
        house.tell(Open(1, token(host="store02"), -1), client=b"b", host="store02")
        assert refusal(house.heard(b"b")).code == "fenced"

    def test_a_seal_that_has_begun_is_finished(self) -> None:
        house = House()
        house.opened(epoch=1)
        house.tell(Data(7, 0), b"data")
        house.work()
        house.tell(Seal(7, 4))
        house.heard()
        house.tell(Open(1, token(epoch=2), -1), client=b"b")
        house.work()
        assert house.heard() == [Sealed(7, 4)]
        assert house.heard(b"b") == [Opened(1, 4, 0, True)]

    def test_while_the_file_of_the_first_is_being_opened(self) -> None:
        house = House()
        house.tell(Open(7, token(epoch=1), -1))
        house.tell(Open(1, token(epoch=2), -1), client=b"b")
        assert refusal(house.heard()).code == "fenced"
        house.work()
        assert house.heard() == []
        assert isinstance(house.heard(b"b")[0], Opened)


class TestReconnect:
    def test_the_stream_goes_on_with_all_that_has_arrived(self) -> None:
        house = House()
        house.opened()
        house.tell(Data(7, 0), b"one ")
        house.tell(Open(7, token(), 1), client=b"b")
        assert house.heard(b"b") == [Opened(7, 4, 0, False), Credit(7, 8 << 20, 0, "")]
        house.tell(Data(7, 4), b"two", client=b"b")
        house.work()
        assert house.heard(b"a") == []
        house.tell(Seal(7, 7), client=b"b")
        house.work()
        assert house.disk.sealed == {FILE: b"one two"}

    def test_what_arrives_over_the_old_connection_is_nothing(self) -> None:
        house = House()
        house.opened()
        house.tell(Data(7, 0), b"one ")
        house.tell(Open(7, token(), 4), client=b"b")
        house.tell(Data(7, 4), b"old")
        assert refusal(house.heard(b"a")).code == CLOSED
        house.tell(Data(7, 4), b"new", client=b"b")
        house.work()
        assert house.disk.files[FILE] == b"one new"

    def test_who_holds_all_begins_at_the_start(self) -> None:
        house = House()
        house.disk.files[FILE] = bytearray(b"a draft that is of no use")
        house.tell(Open(7, token(), -1))
        house.work()
        house.tell(Close(7))
        house.tell(Open(8, token(), 0))
        house.heard()
        house.work()
        assert house.heard()[0] == Opened(8, 0, 0, False)
        house.tell(Data(8, 0), b"new")
        house.work()
        assert house.disk.files[FILE] == b"new"

    def test_with_less_than_the_receiver_lacks(self) -> None:
        house = House()
        house.opened()
        house.tell(Data(7, 0), b"one ")
        house.tell(Open(7, token(), 5), client=b"b")
        assert refusal(house.heard(b"b")).retryable
        house.work()
        assert not house.disk.open

    def test_to_a_receiver_that_was_restarted(self) -> None:
        house = House()
        house.disk.files[FILE] = bytearray(b"one ")
        house.disk.epochs[FILE] = 1
        house.tell(Open(7, token(), 2))
        house.work()
        assert house.heard()[0] == Opened(7, 4, 0, False)

    def test_after_the_answer_to_seal_was_lost(self) -> None:
        house = House()
        house.opened()
        house.tell(Seal(7, 0))
        house.tell(Open(7, token(), 0), client=b"b")
        house.work()
        assert house.heard(b"b") == [Opened(7, 0, 0, True)]

    def test_a_client_that_is_gone_lets_go_of_its_file(self) -> None:
        house = House()
        house.opened()
        house.tell(Data(7, 0), b"data")
        house.carry_out(house.intake.client_gone(b"a"))
        house.work()
        assert not house.disk.open
        assert FILE in house.disk.files
        assert house.heard()[1:] == []

    def test_one_that_waits_for_a_file_and_is_gone(self) -> None:
        house = House()
        house.opened(client=b"a")
        house.tell(Open(1, token(epoch=2), -1), client=b"b")
        house.carry_out(house.intake.client_gone(b"b"))
        house.work()
        assert not house.disk.open
        assert not list(house.intake.streams())

    def test_giving_up(self) -> None:
        house = House()
        house.opened()
        house.tell(Data(7, 0), b"data")
        house.tell(Close(7))
        house.work()
        assert not house.disk.open
        assert FILE in house.disk.files


class TestRoom:
    def test_a_full_disk_makes_it_wait_and_then_go_on(self) -> None:
        house = House()
        house.opened()
        house.disk.room = 4
        house.tell(Data(7, 0), b"one ")
        house.tell(Data(7, 4), b"two ")
        house.work()
        assert house.heard()[-1] == Credit(7, (8 << 20) + 4, 4, FULL)
        house.tell(Data(7, 8), b"three")
        assert not house.jobs
        house.tick(0.6)
        house.work()
        assert house.heard() == [Credit(7, (8 << 20) + 4, 4, FULL)]
        house.disk.room = 100
        house.tick(0.6)
        house.work()
        going_on = house.heard()[-1]
        assert going_on == Credit(7, (8 << 20) + 13, 13, "")
        assert house.disk.files[FILE] == b"one two three"

    @pytest.mark.parametrize("lack", [errno.ENOSPC, errno.EDQUOT])
    def test_patience_ends(self, lack: int) -> None:
        house = House(Limits(patience_seconds=60))
        house.opened()
        house.disk.room, house.disk.lack = 0, lack
        house.tell(Data(7, 0), b"data")
        house.work()
        for _ in range(100):
            house.tick(0.7)
            house.work()
        *_, last = house.heard()
        assert isinstance(last, Refused)
        assert os.strerror(lack) in last.message
        assert last.retryable
        assert not house.disk.open

    def test_others_go_on(self) -> None:
        house = House()
        house.opened()
        house.opened(client=b"b", file=OTHER)
        house.disk.room = 4
        house.tell(Data(7, 0), b"large")
        house.work()
        house.tell(Data(7, 0), b"tiny", client=b"b")
        house.work()
        assert house.disk.files[OTHER] == b"tiny"

    def test_nothing_is_granted_while_it_waits(self) -> None:
        house = House(Limits(window_bytes=2 << 20))
        house.opened()
        house.disk.room = 1 << 20
        for offset in (0, 1 << 20):
            house.tell(Data(7, offset), bytes(1 << 20))
        house.work()
        house.tell(Data(7, 2 << 20), bytes(1 << 20))
        for _ in range(5):
            house.tick(0.6)
            house.work()
        heard = [credit for credit in house.heard() if isinstance(credit, Credit)]
        assert {one.until for one in heard} == {3 << 20}
        assert heard[-1].waiting == FULL

    def test_a_number_that_is_used_again_is_that_of_the_new_stream(self) -> None:
        """Also when the disk lets go of the file of the old one only then."""
        house = House()
        house.opened()
        house.tell(Close(7))
        house.tell(Open(7, token(OTHER, 1), 0))
        house.work()
        house.carry_out(house.intake.client_gone(b"a"))
        house.work()
        assert not house.disk.open


class TestCredit:
    def test_windows_shrink_when_there_are_many_streams(self) -> None:
        house = House(Limits(window_bytes=8 << 20, total_bytes=16 << 20))
        for number in range(32):
            house.opened(client=b"%d" % number, file=f"a/b/c.{number}.0123456789abcdef.mha")
        for stream in house.intake.streams():
            house.tell(Data(7, 0), bytes(CHUNK_BYTES), client=stream.asked.client)
        house.work()
        granted = [stream.granted - stream.written for stream in house.intake.streams()]
        assert min(granted) >= CHUNK_BYTES
        assert sum(granted) < 64 << 20

    def test_a_frame_larger_than_the_window_may_come_alone(self) -> None:
        house = House(Limits(window_bytes=CHUNK_BYTES))
        house.opened()
        house.tell(Data(7, 0), bytes(8 << 20))
        house.work()
        assert len(house.disk.files[FILE]) == 8 << 20
        house.tell(Data(7, 8 << 20), b"x")
        house.heard()
        house.tell(Data(7, (8 << 20) + 1), bytes(8 << 20))
        assert refusal(house.heard()).code == "staging"

    def test_stalls_are_counted(self) -> None:
        house = House(Limits(window_bytes=2 << 20))
        house.opened()
        house.tell(Data(7, 0), bytes(2 << 20))
        house.now += 3
        house.work()
        assert house.intake.counts.stalls.count == 1
        assert house.intake.counts.stalls.seconds == pytest.approx(3.0)

    def test_what_is_durable_is_told(self) -> None:
        house = House()
        house.opened()
        (stream,) = house.intake.streams()
        house.carry_out(house.intake.durable(stream.number, 5))
        house.carry_out(house.intake.durable(stream.number + 1, 5))
        assert house.heard() == [Durable(7, 5)]


class Streams(RuleBasedStateMachine):
    """Clients that come, go, send what they like, while the disk is slow, full or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House(Limits(window_bytes=CHUNK_BYTES, total_bytes=CHUNK_BYTES, patience_seconds=20))
        self.house.disk.room = 50

    clients = st.sampled_from([b"a", b"b", b"c"])
    numbers = st.integers(1, 2)

    @rule(
        client=clients,
        number=numbers,
        file=st.sampled_from([FILE, OTHER]),
        epoch=st.integers(1, 3),
        have=st.integers(-1, 20),
    )
    def open(self, client: bytes, number: int, file: str, epoch: int, have: int) -> None:
        self.house.tell(Open(number, token(file, epoch), have), client=client)

    @rule(client=clients, number=numbers, size=st.integers(1, 9), astray=st.sampled_from([0, 0, 0, 0, 1]))
    def send(self, client: bytes, number: int, size: int, astray: int) -> None:
        stream = self._stream(client, number)
        at = stream.expected if stream else 0
        self.house.tell(
            Data(number, at + astray), bytes([stream.asked.epoch if stream else 0]) * size, client
        )

    @rule(client=clients, number=numbers)
    def checkpoint(self, client: bytes, number: int) -> None:
        stream = self._stream(client, number)
        self.house.tell(Checkpoint(number, stream.expected if stream else 0), client=client)

    @rule(client=clients, number=numbers)
    def seal(self, client: bytes, number: int) -> None:
        stream = self._stream(client, number)
        self.house.tell(Seal(number, stream.expected if stream else 0), client=client)

    @rule(client=clients, number=numbers)
    def close(self, client: bytes, number: int) -> None:
        self.house.tell(Close(number), client=client)

    @rule(client=clients)
    def gone(self, client: bytes) -> None:
        self.house.carry_out(self.house.intake.client_gone(client))

    @precondition(lambda self: self.house.jobs)
    @rule(fails=st.sampled_from([False, False, False, True]))
    def work(self, fails: bool) -> None:
        self.house.disk.broken = fails and not isinstance(self.house.jobs[0], CloseFile)
        self.house.work(1)
        self.house.disk.broken = False

    @rule(seconds=st.floats(0, 30), room=st.integers(0, 50))
    def time(self, seconds: float, room: int) -> None:
        self.house.disk.room += room
        self.house.tick(seconds)

    @invariant()
    def a_stream_has_one_job_at_a_time(self) -> None:
        streams = [job.stream for job in self.house.jobs]
        assert len(streams) == len(set(streams))

    @invariant()
    def what_is_written_is_what_the_stream_thinks(self) -> None:
        for stream in self.house.intake.streams():
            if stream.has_file and not stream.busy:
                assert len(self.house.disk.files[self.house.disk.open[stream.number]]) == stream.written

    @invariant()
    def a_file_never_goes_back_to_an_earlier_attempt(self) -> None:
        for data in [*self.house.disk.files.values(), *self.house.disk.sealed.values()]:
            assert list(data) == sorted(data)

    def teardown(self) -> None:
        """When all clients are gone and the disk works, nothing is left open."""
        for client in (b"a", b"b", b"c"):
            self.house.carry_out(self.house.intake.client_gone(client))
        self.house.work()
        assert not self.house.disk.open
        assert not list(self.house.intake.streams())

    def _stream(self, client: bytes, number: int) -> Stream | None:
        for stream in self.house.intake.streams():
            if stream.bound and (stream.asked.client, stream.asked.number) == (client, number):
                return stream
        return None


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
