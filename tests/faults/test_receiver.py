"""The receiver, its workers and the link between them fail at any time: no archive is lost or wrong."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.errors import LeaseLostError
from mailhaul.proto.records import ArchiveId
from mailhaul.proto.structs import replace
from mailhaul.proto.wire.client import Arrival, Client, Connected
from mailhaul.proto.wire.envelopes import (
    VERSION,
    Bytes,
    Checkpoint,
    Credit,
    Data,
    Envelope,
    Find,
    Hello,
    Open,
    Opened,
    Read,
    Refused,
    Seal,
    Welcome,
)
from mailhaul.proto.wire.keys import read_pair, read_public
from mailhaul.tests.archives import encoded, expected, frames_of, read_archive, write_archive
from mailhaul.tests.faults.tcp_proxy import Proxy
from mailhaul.tests.receiving import (
    DEADLINE_SECONDS,
    FILE,
    Place,
    ReceiverProcess,
    make_place,
    token,
    wait_until,
    write_frames,
)
from mailhaul.worker.staging.flow import CLOSED
from mailhaul.worker.staging.partial import partial_path
from mailhaul.worker.staging.receiver_status import STATUS_FILE
from mailhaul.worker.staging.sinks import StagedFile
from mailhaul.worker.staging.space import FULL

RANDOM = random.Random(23)
MAILBOXES = {
    user: {"INBOX": [b"Subject: %d\r\n\r\n" % number + RANDOM.randbytes(400_000) for number in range(12)]}
    for user in ("anna", "bert", "cleo")
}
ARCHIVE = write_archive(MAILBOXES)
FRAMES = frames_of(ARCHIVE)
HALF = [frame.end for frame in FRAMES if frame.header.type is FrameType.MAILBOX][2]
"""The end of the second mailbox: the MAILBOX frame of the first one comes again before it."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path / "staging")


def size_of(place: Place, epoch: int = 1) -> int:
    """How large the file is that an attempt writes; 0 if there is none."""
    try:
        return partial_path(place.area / FILE, epoch).stat().st_size
    except FileNotFoundError:
        return 0


def has_written(place: Place, least: int) -> bool:
    return size_of(place) >= least


@contextmanager
def worker(place: Place, mode: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-P", "-m", "mailhaul.tests.faults.receiver_worker", mode]
    command += [str(place.root), place.endpoint, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    """What a worker says next."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


class TestReceiverKilled:
    def test_the_stream_goes_on_and_the_archive_is_the_same(self, place: Place, tmp_path: Path) -> None:
        local = StagedFile(tmp_path / "local.mha")
        local.begin()
        write_frames(local, ARCHIVE)
        local.seal()
        with ReceiverProcess(place, slow_seconds=0.03) as receiver:
            sink = receiver.place.sink()
            sink.begin()
            killed: list[int] = []

            def kill() -> None:
                for fifths in (1, 2, 3):
                    wait_until("some is written", partial(has_written, place, fifths * len(ARCHIVE) // 5))
                    receiver.kill()
                    killed.append(size_of(place))
                    receiver.start()

            killer = threading.Thread(target=kill)
            killer.start()
            write_frames(sink, ARCHIVE)
            sink.seal()
            killer.join()
        assert len(killed) == 3
        assert all(0 < size < len(ARCHIVE) for size in killed)
        assert place.archive() == (tmp_path / "local.mha").read_bytes()
        assert place.names() == [FILE]

    def test_in_the_middle_of_a_frame(self, place: Place) -> None:
        """What is not a whole frame is cut off; the worker sends it again."""
        with ReceiverProcess(place) as receiver:
            sink = receiver.place.sink()
            sink.begin()
            write_frames(sink, ARCHIVE, end=HALF)
            wait_until("it is written", lambda: size_of(place) == HALF)
            receiver.kill()
            os.truncate(partial_path(place.area / FILE, 1), HALF)
            with partial_path(place.area / FILE, 1).open("ab") as file:
                file.write(ARCHIVE[HALF : HALF + 1000])
            receiver.start()
            write_frames(sink, ARCHIVE, begin=HALF)
            sink.seal()
        assert place.archive() == ARCHIVE

    def test_what_the_machine_has_lost_is_written_by_the_next_attempt(self, place: Place) -> None:
        """The receiver's host crashed: a file that is shorter than it was."""
        with ReceiverProcess(place) as receiver:
            sink = receiver.place.sink()
            sink.begin()
            write_frames(sink, ARCHIVE, end=HALF)
            wait_until("it is written", lambda: size_of(place) == HALF)
            time.sleep(0.3)  # for the worker to hear of it
            receiver.kill()
            os.truncate(partial_path(place.area / FILE, 1), FRAMES[3].at)
            receiver.start()
            with pytest.raises(Exception, match="are there") as caught:
                write_and_seal(sink, HALF)
            assert getattr(caught.value, "retryable", False)
            sink.abort()
            second = receiver.place.sink(epoch=2)
            draft = second.begin()
            write_frames(second, ARCHIVE, begin=draft.size_bytes if draft else 0)
            second.seal()
        assert place.archive() == ARCHIVE

    def test_while_an_archive_is_read(self, place: Place) -> None:
        sink = StagedFile(place.area / FILE)
        sink.begin()
        sink.write(ARCHIVE)
        sink.seal()
        with ReceiverProcess(place) as receiver:
            file = receiver.place.file()
            assert file is not None
            reader = open_sealed(file)
            receiver.kill()
            receiver.start()
            found, damage = read_archive(reader)
            file.close()
        assert found == expected(MAILBOXES)
        assert damage == []

    def test_for_longer_than_a_lease(self, place: Place) -> None:
        with ReceiverProcess(replace(place, lease_seconds=1.0)) as receiver:
            sink = receiver.place.sink()
            sink.begin()
            receiver.kill()
            with pytest.raises(LeaseLostError):
                write_and_seal(sink, 0)
            sink.abort()


def write_and_seal(sink: object, begin: int) -> None:
    """The rest of the archive."""
    write_frames(sink, ARCHIVE, begin=begin)  # type: ignore[arg-type]
    sink.seal()  # type: ignore[attr-defined]


class TestWorkerStopped:
    def test_it_is_fenced_when_it_wakes(self, place: Place, tmp_path: Path) -> None:
        source = tmp_path / "archive"
        source.write_bytes(write_archive(MAILBOXES, archive=ArchiveId(b"the old attempt.")))
        with ReceiverProcess(place) as receiver:
            with worker(receiver.place, "write", 1, source, 0.05) as old:
                assert line(old) == "begun"
                wait_until("it writes", lambda: size_of(place) > 0)
                os.kill(old.pid, signal.SIGSTOP)
                new = receiver.place.sink(epoch=2)
                assert new.begin() is None
                assert size_of(place) == 0
                write_frames(new, ARCHIVE, end=HALF)
                os.kill(old.pid, signal.SIGCONT)
                assert line(old) == "FencedError"
                write_frames(new, ARCHIVE, begin=HALF)
                new.seal()
            status = receiver.stop()
        assert status["fenced"] >= 1
        assert place.archive() == ARCHIVE
        assert place.names() == [FILE]

    def test_for_longer_than_the_receiver_waits_for_it_it_goes_on(self, place: Place, tmp_path: Path) -> None:
        """Nobody has taken over meanwhile."""
        source = tmp_path / "archive"
        source.write_bytes(ARCHIVE)
        with ReceiverProcess(place, lease_seconds=0.6) as receiver:
            with worker(receiver.place, "write", 1, source, 0.04) as process:
                assert line(process) == "begun"
                wait_until("its stream is told of", lambda: stream_files(place) == [FILE])
                os.kill(process.pid, signal.SIGSTOP)
                assert size_of(place) < len(ARCHIVE)
                wait_until("its stream is closed", lambda: stream_files(place) == [])
                os.kill(process.pid, signal.SIGCONT)
                assert line(process) == "done"
        assert place.archive() == ARCHIVE

    def test_killed_it_is_followed_at_once(self, place: Place, tmp_path: Path) -> None:
        source = tmp_path / "archive"
        source.write_bytes(ARCHIVE)
        with ReceiverProcess(place) as receiver:
            with worker(receiver.place, "write", 1, source, 0.05) as old:
                assert line(old) == "begun"
                wait_until("it writes", lambda: size_of(place) > FRAMES[-1].at // 2)
            new = receiver.place.sink(epoch=2)
            draft = new.begin()
            assert draft is not None
            write_frames(new, ARCHIVE, begin=draft.size_bytes)
            new.seal()
        assert place.archive() == ARCHIVE


class TestLink:
    @pytest.fixture
    def linked(self, place: Place) -> Iterator[tuple[Place, Proxy]]:
        with ReceiverProcess(place) as receiver:
            with Proxy(int(receiver.place.endpoint.rpartition(":")[2])) as proxy:
                yield place.at(proxy.endpoint), proxy

    def test_cut_again_and_again(self, linked: tuple[Place, Proxy]) -> None:
        place, proxy = linked
        cuts: list[int] = []
        done = threading.Event()

        def cut() -> None:
            while not done.wait(0.15) and len(cuts) < 8:
                cuts.append(proxy.cut())

        sink = place.sink()
        sink.begin()
        cutter = threading.Thread(target=cut)
        cutter.start()
        for frame in FRAMES:
            sink.write(ARCHIVE[frame.at : frame.end])
            time.sleep(0.01)
        sink.seal()
        done.set()
        cutter.join()
        assert sum(cuts) >= 2
        assert proxy.connections >= 3
        assert place.archive() == ARCHIVE

    def test_the_answer_to_the_seal_is_lost(self, linked: tuple[Place, Proxy]) -> None:
        place, proxy = linked
        sink = place.sink()
        sink.begin()
        write_frames(sink, ARCHIVE)
        wait_until("all is written", lambda: size_of(place) == len(ARCHIVE))
        lost = threading.Event()
        proxy.hold("from")
        watcher = threading.Thread(target=_lose_answer, args=(place, proxy, lost))
        watcher.start()
        assert sink.seal() == str(place.area / FILE)
        watcher.join()
        assert lost.is_set()
        assert proxy.connections == 2
        assert place.archive() == ARCHIVE
        assert place.names() == [FILE]

    def test_silent_for_a_while(self, linked: tuple[Place, Proxy]) -> None:
        place, proxy = linked
        sink = place.sink()
        sink.begin()
        write_frames(sink, ARCHIVE, end=HALF)
        proxy.hold("to", "from")
        threading.Timer(1.0, proxy.hold).start()
        write_and_seal(sink, HALF)
        assert place.archive() == ARCHIVE

    def test_silent_for_longer_than_a_lease(self, linked: tuple[Place, Proxy]) -> None:
        place, proxy = replace(linked[0], lease_seconds=1.0), linked[1]
        sink = place.sink()
        sink.begin()
        proxy.hold("to", "from")
        with pytest.raises(LeaseLostError):
            write_and_seal(sink, 0)
        sink.abort()
        proxy.hold()
        proxy.cut()
        assert place.names() == [f"{FILE}.1.partial"]
        sink = place.sink(epoch=2)
        draft = sink.begin()
        write_frames(sink, ARCHIVE, begin=draft.size_bytes if draft else 0)
        sink.seal()
        assert place.archive() == ARCHIVE


def _lose_answer(place: Place, proxy: Proxy, lost: threading.Event) -> None:
    """Cut the link, over which nothing comes back, once the archive has its name."""
    wait_until("it is sealed", lambda: (place.area / FILE).exists())
    if proxy.cut():
        lost.set()
    proxy.hold()


class TestSlowDisk:
    def test_the_worker_waits_and_its_memory_is_bounded(self, place: Place) -> None:
        with ReceiverProcess(place, slow_seconds=0.03) as receiver:
            with worker(receiver.place, "flood", 70) as process:
                assert line(process) == "begun"
                assert line(process) == "done"
                grown_kib = int(line(process))
            status = receiver.stop()
        assert status["received_bytes"] > 60_000_000
        assert status["stalls"] > 10
        # The window of 8 MiB, a batch that is made and one that is sent, and what ZeroMQ copies of them.
        assert grown_kib < 40 << 10


@pytest.fixture
def small_disk(place: Place) -> Iterator[Place]:
    """A staging area on a file system of eight megabytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place.area], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place.area], check=True)


def enlarge(place: Place) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", place.area], check=True)


def stream_files(place: Place) -> list[str]:
    """The archives that are being written, as the status file says."""
    try:
        status = json.loads((place.area / STATUS_FILE).read_text())
    except FileNotFoundError:
        return []
    return [stream["file"] for stream in status["streams"]]


def waits_for(place: Place) -> str:
    """What the stream waits for that is being written, as the status file says."""
    try:
        status = json.loads((place.area / STATUS_FILE).read_text())
    except FileNotFoundError:
        return ""
    return "".join(stream["waiting"] for stream in status["streams"])


class TestFullDisk:
    @pytest.mark.parametrize("reserve_bytes", [0, 1 << 20], ids=["none", "reserve"])
    def test_it_waits_until_there_is_room(self, small_disk: Place, reserve_bytes: int) -> None:
        told: list[str] = []
        with ReceiverProcess(small_disk, reserve_bytes=reserve_bytes, lease_seconds=1.0) as receiver:
            place = replace(receiver.place, lease_seconds=1.0)
            sink = place.sink(on_wait=told.append)
            sink.begin()
            writer = threading.Thread(target=write_and_seal, args=(sink, 0))
            writer.start()
            wait_until("it is full", lambda: told == [FULL])
            # A lease passes meanwhile; nobody gives up.
            time.sleep(1.5)
            assert writer.is_alive()
            full = size_of(place)
            assert 0 < full <= (8 << 20) - reserve_bytes
            if reserve_bytes:
                room = os.statvfs(place.area)
                assert room.f_bavail * room.f_frsize >= reserve_bytes - (64 << 10)
                assert waits_for(place) == FULL
            enlarge(place)
            writer.join(DEADLINE_SECONDS)
            assert not writer.is_alive()
        assert told == [FULL, ""]
        assert place.archive() == ARCHIVE

    def test_an_area_elsewhere_is_not_affected(self, small_disk: Place, tmp_path: Path) -> None:
        """A partition whose directory lies on another file system."""
        other = small_disk.area / "other"
        other.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", other], check=True)
        try:
            told: list[str] = []
            with ReceiverProcess(small_disk) as receiver:
                waiting = receiver.place.sink(on_wait=told.append)
                waiting.begin()
                writer = threading.Thread(target=write_and_seal, args=(waiting, 0))
                writer.start()
                wait_until("it is full", lambda: told == [FULL])
                name = "other/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
                sink = receiver.place.sink(file=name)
                sink.begin()
                write_and_seal(sink, 0)
                assert receiver.place.archive(name) == ARCHIVE
                assert told == [FULL]
                enlarge(small_disk)
                writer.join(DEADLINE_SECONDS)
            assert small_disk.archive() == ARCHIVE
        finally:
            subprocess.run(["umount", other], check=True)

    def test_patience_ends_and_a_later_attempt_goes_on(self, small_disk: Place) -> None:
        with ReceiverProcess(small_disk, patience_seconds=1.0) as receiver:
            sink = receiver.place.sink()
            sink.begin()
            with pytest.raises(Exception, match="No space left") as caught:
                write_and_seal(sink, 0)
            assert getattr(caught.value, "retryable", False)
            sink.abort()
            enlarge(small_disk)
            sink = receiver.place.sink(epoch=2)
            draft = sink.begin()
            assert draft is not None
            write_frames(sink, ARCHIVE, begin=draft.size_bytes)
            sink.seal()
        assert small_disk.archive() == ARCHIVE


class Intruder:
    """A client with a key that is allowed, which sends what it likes."""

    def __init__(self, place: Place, host: str = "store02", greet: bool = True) -> None:
        self._client = Client(
            place.endpoint, read_pair(place.keys, host), read_public(place.keys, "receiver")
        )
        wait_until("it is connected", lambda: isinstance(self._client.receive(0.1), Connected))
        if greet:
            self.send(Hello(VERSION, host))
            assert isinstance(self.heard(), Welcome)

    def send(self, envelope: Envelope, payload: bytes = b"") -> None:
        assert self._client.send(envelope, payload, 5.0)

    def heard(self) -> Envelope:
        """What it hears next."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            happening = self._client.receive(1.0)
            if isinstance(happening, Arrival):
                return happening.envelope
        raise AssertionError("nothing was heard")

    def open(self, stream: int, grant: bytes) -> Envelope:
        self.send(Open(stream, grant, -1))
        return self.heard()

    def refused(self, code: str) -> bool:
        """Whether it hears soon, after what it was told before, that this is refused."""
        heard = self.heard()
        while isinstance(heard, Credit):
            heard = self.heard()
        return isinstance(heard, Refused) and heard.code == code

    def __enter__(self) -> Intruder:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


HEADER = ARCHIVE[: FRAMES[0].end]
BLOCK = ARCHIVE[FRAMES[1].at : FRAMES[1].end]
STRANGE = encoded(FRAMES[1].header._replace(archive=ArchiveId(bytes(16))), FRAMES[1].payload)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A receiver that does its work for another worker meanwhile."""
    with ReceiverProcess(make_place(tmp_path_factory.mktemp("hostile"))) as receiver:
        sink = receiver.place.sink()
        sink.begin()
        write_frames(sink, ARCHIVE, end=HALF)
        yield receiver.place
        write_and_seal(sink, HALF)
        assert receiver.process.poll() is None
        assert receiver.place.archive() == ARCHIVE


class TestHostileClient:
    @pytest.fixture
    def name(self, request: pytest.FixtureRequest) -> str:
        """The name of an archive that nobody else writes."""
        return f"primary/user/{abs(hash(request.node.name))}.0.0123456789abcdef.mha"

    @pytest.mark.parametrize(
        "grant",
        [
            b"",
            b"x" * 300,
            token(host="store01"),
            token(host="store02", secret=bytes(32)),
            token(host="store02", seconds=-1),
            token(host="store02", kind="read", file=""),
            token(host="store02", file="../../escaped/user/x.0.0123456789abcdef.mha"),
            token(host="store02", file="primary/../../x.0.0123456789abcdef.mha"),
            token(host="store02", file="/tmp/user/x.0.0123456789abcdef.mha"),
            token(host="store02", file=".mailhaul/user/x.0.0123456789abcdef.mha"),
            token(host="store02", file="primary/user/x.0.0123456789abcdef.mha.7.partial"),
        ],
        ids=itertools.count(),
    )
    def test_without_a_grant(self, served: Place, grant: bytes) -> None:
        before = served.names()
        with Intruder(served) as intruder:
            answer = intruder.open(1, grant)
            assert isinstance(answer, Refused)
            assert (answer.code, answer.retryable) == ("access", False)
            intruder.send(Data(1, 0), HEADER)
            assert intruder.refused(CLOSED)
        assert served.names() == before
        assert not (served.root / "escaped").exists()

    def test_an_earlier_epoch_and_another_host(self, served: Place) -> None:
        with Intruder(served) as intruder:
            for epoch in (0, 1):
                answer = intruder.open(1, token(host="store02", epoch=epoch))
                assert isinstance(answer, Refused)
                assert answer.code == "fenced"

    def test_without_a_greeting(self, served: Place, name: str) -> None:
        with Intruder(served, greet=False) as intruder:
            intruder.send(Open(1, token(host="store02", file=name), -1))
            assert intruder.refused(CLOSED)
            intruder.send(Hello(VERSION, "store01"))
            assert intruder.refused("access")
            intruder.send(Hello(VERSION + 1, "store02"))
            assert intruder.refused("access")
        assert name not in "".join(served.names())

    @pytest.mark.parametrize(
        ("envelope", "payload", "code"),
        [
            (Data(1, 1), HEADER, "staging"),
            (Data(1, 1 << 40), HEADER, "staging"),
            (Data(1, 0), BLOCK, "damaged"),
            (Data(1, 0), HEADER + STRANGE, "damaged"),
            (Data(1, 0), HEADER[:-1], "damaged"),
            (Data(1, 0), HEADER + BLOCK[:-1] + bytes([BLOCK[-1] ^ 1]), "damaged"),
            (Data(1, 0), HEADER + HEADER, "damaged"),
            (Data(1, 0), b"From: somebody\r\n\r\n" * 100, "damaged"),
            (Checkpoint(1, 5), b"", "staging"),
            (Seal(1, 5), b"", "staging"),
            (Seal(1, 0), b"", "damaged"),
            (Data(2, 0), HEADER, CLOSED),
        ],
        ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
    )
    def test_what_is_no_archive(
        self, served: Place, name: str, envelope: Envelope, payload: bytes, code: str
    ) -> None:
        with Intruder(served) as intruder:
            assert isinstance(intruder.open(1, token(host="store02", file=name)), Opened)
            assert isinstance(intruder.heard(), Credit)
            intruder.send(envelope, payload)
            assert intruder.refused(code)
        assert partial_path(served.area / name, 1).read_bytes() == b""
        assert not (served.area / name).exists()

    def test_an_archive_that_was_cut_short_is_not_sealed(self, served: Place, name: str) -> None:
        with Intruder(served) as intruder:
            assert isinstance(intruder.open(1, token(host="store02", file=name)), Opened)
            intruder.send(Data(1, 0), HEADER)
            intruder.send(Seal(1, len(HEADER)))
            assert intruder.refused("damaged")
        assert not (served.area / name).exists()

    def test_more_than_it_may_send(self, served: Place, name: str) -> None:
        with Intruder(served) as intruder:
            assert isinstance(intruder.open(1, token(host="store02", file=name)), Opened)
            assert isinstance(intruder.heard(), Credit)
            for number in range(20):
                intruder.send(Data(1, number << 20), bytes(1 << 20))
            heard = intruder.heard()
            assert isinstance(heard, Refused)
            assert heard.code in ("damaged", "staging")
        assert partial_path(served.area / name, 1).read_bytes() == b""

    def test_more_than_it_may_ask_for(self, served: Place, name: str) -> None:
        grant = token(host="store02", kind="read", file="")
        with Intruder(served) as intruder:
            for number in range(200):
                intruder.send(Read(number, grant, name, 0, 1 << 20))
            answers = [intruder.heard() for _ in range(200)]
        assert all(
            isinstance(answer, Refused) and answer.code in ("not-found", "staging") for answer in answers
        )
        assert {refused.number for refused in answers if isinstance(refused, Refused)} == set(range(200))

    def test_files_that_are_not_its_business(self, served: Place) -> None:
        grant = token(host="store02", kind="read", file="")
        (served.area / ".mailhaul").mkdir(exist_ok=True)
        (served.area / ".mailhaul" / "grants.key").write_bytes(b"what grants are signed with")
        with Intruder(served) as intruder:
            for name in (
                ".mailhaul/grants.key",
                "../keys/receiver.key_secret",
                f"{FILE}.1.partial",
                "primary/user/../../.mailhaul/grants.key",
                "/etc/passwd",
            ):
                intruder.send(Find(1, grant, name))
                assert intruder.refused("access")
                intruder.send(Read(1, grant, name, 0, 100))
                assert intruder.refused("access")
            intruder.send(Read(1, grant, FILE, 0, 100))
            assert intruder.refused("not-found")

    def test_the_draft_of_its_own_attempt_only(self, served: Place, name: str) -> None:
        with Intruder(served) as intruder:
            own = token(host="store02", file=name)
            assert isinstance(intruder.open(1, own), Opened)
            assert isinstance(intruder.heard(), Credit)
            intruder.send(Data(1, 0), HEADER)
            assert isinstance(intruder.heard(), Credit)
            intruder.send(Read(9, own, name, 0, 100))
            assert isinstance(intruder.heard(), Bytes)
            intruder.send(Read(9, token(host="store02", file=name, epoch=2), name, 0, 100))
            assert intruder.refused("not-found")


def test_frames_are_as_these_tests_think() -> None:
    """The archive has what the tests above rely on: several mailboxes, blocks, an end."""
    kinds: list[FrameType] = [frame.header.type for frame in FRAMES]
    assert kinds[0] is FrameType.HEADER
    assert kinds[1] is FrameType.BLOCK
    assert kinds[-1] is FrameType.FOOTER
    assert kinds.count(FrameType.MAILBOX) == 2 * len(MAILBOXES)
    assert FrameType.MAILBOX in [frame.header.type for frame in FRAMES if frame.end <= HALF]
