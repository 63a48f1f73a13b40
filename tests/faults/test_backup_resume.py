"""Attempts at a unit that are killed, stopped, fenced off or out of room: the next one goes on behind the
last mailbox that is complete, and the archive that comes of it is as good as one written at one go."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from mailhaul.proto.errors import FencedError, StagingError
from mailhaul.tests.checking import check_archive
from mailhaul.tests.trees import differences, snapshot
from mailhaul.worker.staging.partial import PartialArchive, open_partial
from mailhaul.worker.staging.sinks import StagedFile
from mailhaul.worker.staging.space import FULL, Space

_PATIENCE_SECONDS = 60
_USERS = 30


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mail") / "store"
    maker = root / "deploy" / "demo" / "make_store.py"
    subprocess.run(
        [sys.executable, maker, place, "--messages", "600", "--users", str(_USERS), "--seed", "9"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=_PATIENCE_SECONDS,
    )
    return place


class Attempts:
    """Attempts at one unit, one program each, and what they have opened."""

    def __init__(self, store: Path, place: Path) -> None:
        self.store = store
        self.place = place
        self.archive = place / "staging" / "primary" / "user" / "unit.mha"
        self._started: list[subprocess.Popen[str]] = []

    def start(self, epoch: int) -> subprocess.Popen[str]:
        module = "mailhaul.tests.faults.backup_attempts"
        arguments = [str(self.store), str(self.archive), str(epoch), str(self._log(epoch))]
        attempt = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started.append(attempt)
        return attempt

    def hold(self, epoch: int, user: str) -> None:
        """Let this attempt wait with the mailbox of this user open."""
        self._log(epoch).with_suffix(".hold").write_text(user)

    def opened(self, epoch: int) -> list[str]:
        """The users whose mailboxes an attempt has opened so far."""
        log = self._log(epoch)
        return log.read_text().split() if log.exists() else []

    def await_opened(self, epoch: int, number: int, attempt: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(self.opened(epoch)) < number and attempt.poll() is None:
            assert time.monotonic() < deadline, "the attempt does not get on"
            time.sleep(0.002)

    def check(self) -> None:
        """The archive is whole, and what is restored from it is what the store holds."""
        assert [path.name for path in self.archive.parent.iterdir()] == [self.archive.name]
        assert check_archive(self.archive) == 600
        target = self.place / "restored"
        arguments = ["restore", "/", "-f", str(self.archive), "--to", f"maildir:{target}"]
        subprocess.run(
            [sys.executable, "-m", "mailhaul", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_SECONDS,
        )
        mailboxes = list(self.store.glob("*/*/Maildir"))
        assert len(mailboxes) == _USERS
        for mailbox in mailboxes:
            restored = target / mailbox.relative_to(self.store)
            assert differences(snapshot(mailbox), snapshot(restored)) == []

    def end(self) -> None:
        for attempt in self._started:
            attempt.kill()
            attempt.communicate(timeout=_PATIENCE_SECONDS)

    def _log(self, epoch: int) -> Path:
        return self.place / f"{epoch}.log"


@pytest.fixture
def attempts(store: Path, tmp_path: Path) -> Iterator[Attempts]:
    attempts = Attempts(store, tmp_path)
    yield attempts
    attempts.end()


def answer(attempt: subprocess.Popen[str]) -> str:
    out, _ = attempt.communicate(timeout=_PATIENCE_SECONDS)
    return out.strip()


def test_each_kill_costs_one_mailbox_at_most(attempts: Attempts) -> None:
    rng = random.Random(4)
    epoch = killed = 0
    while not attempts.archive.exists():
        epoch += 1
        attempt = attempts.start(epoch)
        if epoch < 30:
            attempts.await_opened(epoch, rng.randint(1, 5), attempt)
            time.sleep(rng.uniform(0, 0.03))
            attempt.kill()
        attempt.wait(_PATIENCE_SECONDS)
        killed += attempt.returncode == -signal.SIGKILL
    opened = [attempts.opened(number) for number in range(1, epoch + 1)]
    assert killed >= 5
    assert sum(map(len, opened)) <= _USERS + killed
    for before, after in pairwise(opened):
        assert set(before[:-1]).isdisjoint(after), "only the mailbox that was open is read again"
    assert len({user for users in opened for user in users}) == _USERS
    attempts.check()


def test_a_stopped_writer_is_fenced_off_when_it_wakes(attempts: Attempts) -> None:
    first = attempts.start(1)
    attempts.await_opened(1, 5, first)
    first.send_signal(signal.SIGSTOP)
    assert answer(attempts.start(2)) == "staging", "nobody writes beside it, even while it is stopped"
    first.send_signal(signal.SIGCONT)
    assert answer(first) == "fenced"
    assert not attempts.archive.exists()
    assert answer(attempts.start(3)) == "600"
    assert len(attempts.opened(1)) < _USERS
    assert attempts.opened(2) == []
    assert set(attempts.opened(1)[:-1]).isdisjoint(attempts.opened(3))
    attempts.check()


def test_the_fence_survives_a_kill(attempts: Attempts) -> None:
    """The attempt that has taken over dies before it has written anything."""
    first = attempts.start(1)
    attempts.await_opened(1, 5, first)
    first.kill()
    first.wait(_PATIENCE_SECONDS)
    attempts.hold(2, attempts.opened(1)[-1])
    second = attempts.start(2)
    attempts.await_opened(2, 1, second)
    second.kill()
    second.wait(_PATIENCE_SECONDS)
    assert answer(attempts.start(1)) == "fenced"
    assert answer(attempts.start(3)) == "600"
    attempts.check()


def test_two_at_once(attempts: Attempts) -> None:
    """Of several that start together, only the latest can seal, whoever comes first."""
    rivals = {epoch: attempts.start(epoch) for epoch in (3, 1, 2)}
    answers = {epoch: answer(rival) for epoch, rival in rivals.items()}
    assert set(answers.values()) <= {"600", "fenced", "staging"}
    assert list(answers.values()).count("600") <= 1
    if "600" not in answers.values():
        assert answer(attempts.start(4)) == "600"
    attempts.check()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_waited_for(small_disk: Path) -> None:
    waited: list[str] = []

    def enlarge(why: str) -> None:
        waited.append(why)
        if waited == [FULL]:
            subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)

    sink = StagedFile(
        small_disk / "unit.mha", space=Space(small_disk, 64 << 10), patience_seconds=30, on_wait=enlarge
    )
    sink.begin()
    data = random.Random(1).randbytes(100_000)
    for _ in range(20):
        sink.write(data)
        sink.checkpoint()
    sink.seal()
    assert (small_disk / "unit.mha").read_bytes() == data * 20
    assert waited[0] == FULL
    assert waited[-1] == ""


def test_what_a_full_disk_left_is_gone_on_with(small_disk: Path) -> None:
    first = open_partial(small_disk / "unit.mha", 1)
    assert first is not None
    data = bytes(50_000)
    with pytest.raises(StagingError, match="No space left"):
        fill(first, data)
    whole = first.size
    assert whole > 0
    assert whole % len(data) == 0
    with pytest.raises(StagingError):
        open_partial(small_disk / "unit.mha", 2)
    with pytest.raises(FencedError):
        first.checkpoint()
    first.close()
    second = open_partial(small_disk / "unit.mha", 2)
    assert second is not None
    assert second.size == second.durable_bytes == whole
    second.close()


def fill(file: PartialArchive, data: bytes) -> None:
    """Write more than there is room for."""
    for _ in range(100):
        file.append(data)
