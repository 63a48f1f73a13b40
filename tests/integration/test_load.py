"""Bounded load between real processes: what they share holds for all, whoever dies or stands still."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from mailhaul.tests.integration.command import Mailhaul
from mailhaul.worker.load import LoadLimits
from mailhaul.worker.load.budget import BATCH_SECONDS, Budget
from mailhaul.worker.load.ledger import BURST_NS, Ledger, host_ledger

READER = [sys.executable, "-P", "-m", "mailhaul.tests.integration.load_reader"]
SECONDS = 3.0

Processes = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Processes]:
    """Starts a program whose input and output are pipes; it is gone at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def popen(*words: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield popen
    for one in started:
        one.kill()
        one.communicate(timeout=30)


@pytest.fixture
def host() -> Iterator[str]:
    """The name of a host that no other test uses."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    host_ledger(name).path.unlink()


class Figures(NamedTuple):
    """When a reader began and ended, what it read, what it booked for that, and the longest wait."""

    begun: float
    ended: float
    messages: float
    size_bytes: float
    seconds_for_bytes: float
    seconds_for_messages: float
    longest_wait_seconds: float


def told(reader: subprocess.Popen[str]) -> Figures:
    assert reader.stdout
    return Figures(*(float(word) for word in reader.stdout.readline().split()))


def nobody_waited_in_vain(figures: Sequence[Figures], rate: int, counted: str, largest: int) -> None:
    """However slow this machine is just now: no more was booked than was read, but for the last batch and the
    message that was not finished; and nobody had to wait for more than a batch of each of them."""
    booked = sum(getattr(figure, f"seconds_for_{counted}") for figure in figures)
    read = sum(one.size_bytes if counted == "bytes" else one.messages for one in figures)
    assert booked <= read / rate + len(figures) * (BATCH_SECONDS + largest / rate) + 1e-6
    longest = max(BATCH_SECONDS, 1 / rate)
    assert max(one.longest_wait_seconds for one in figures) <= len(figures) * longest + 1e-6


def begin(reader: subprocess.Popen[str], until: float | None = None) -> None:
    assert reader.stdin
    reader.stdin.write(f"{until or ''}\n")
    reader.stdin.flush()


def ready(reader: subprocess.Popen[str]) -> None:
    assert reader.stdout
    assert reader.stdout.readline() == "ready\n"


@pytest.mark.parametrize(
    ("limits", "sizes", "counted", "rate"),
    [
        ((4_000_000, 0), "100,20000,300,45000", "bytes", 4_000_000),
        ((0, 400), "100,20000,300", "messages", 400),
        ((1_000_000, 400), "50000", "bytes", 1_000_000),
        ((4_000_000, 0), "3000000", "bytes", 4_000_000),
    ],
    ids=["bytes", "messages", "both", "large"],
)
def test_two_processes_share_a_limit(
    start: Processes, host: str, limits: tuple[int, int], sizes: str, counted: str, rate: int
) -> None:
    readers = [start(*READER, host, *limits, sizes) for _ in range(2)]
    for reader in readers:
        ready(reader)
    until = time.monotonic() + SECONDS
    for one in readers:
        begin(one, until)
    figures = [told(one) for one in readers]
    seconds = max(figure.ended for figure in figures) - min(one.begun for one in figures)
    read = [one.size_bytes if counted == "bytes" else one.messages for one in figures]
    slack = BURST_NS / 1e9 + len(readers) * BATCH_SECONDS
    assert sum(read) <= 1.02 * rate * (seconds + slack)
    assert min(read) > 0
    largest = max(map(int, sizes.split(","))) if counted == "bytes" else 1
    nobody_waited_in_vain(figures, rate, counted, largest)


def test_the_rate_holds_inside_one_message(start: Processes, host: str) -> None:
    reader = start(*READER, host, 2_000_000, 0, "3000000")
    ready(reader)
    begin(reader)
    figures = told(reader)
    assert (figures.messages, figures.size_bytes) == (1, 3_000_000)
    assert figures.ended - figures.begun >= 1.3
    assert figures.longest_wait_seconds <= BATCH_SECONDS + 1e-6


def test_the_death_of_a_reader_costs_its_share_and_nothing_else(start: Processes, host: str) -> None:
    limits = (1_000_000, 0)
    first, other = (start(*READER, host, *limits, "20000") for _ in range(2))
    for one in (first, other):
        ready(one)
    until = time.monotonic() + SECONDS
    for one in (first, other):
        begin(one, until)
    time.sleep(0.5)
    assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    assert first.wait(10) == -signal.SIGKILL
    figures = told(other)
    seconds = figures.ended - figures.begun
    assert figures.size_bytes <= 1.02 * limits[0] * (seconds + BURST_NS / 1e9 + BATCH_SECONDS)
    # What the other had booked is lost, and no more than that: two batches are the longest wait.
    assert figures.seconds_for_bytes <= (figures.size_bytes + 20_000) / limits[0] + BATCH_SECONDS + 1e-6
    assert figures.longest_wait_seconds <= 2 * BATCH_SECONDS + 1e-6


HOLDER = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_nobody_waits_for_a_lock_that_is_never_given_back(
    start: Processes, tmp_path: Path, number: signal.Signals
) -> None:
    ledger = Ledger(tmp_path / "host.load")
    budget = Budget(LoadLimits(messages_per_second=1000), ledger)
    holder = start(sys.executable, "-c", HOLDER, ledger.path)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with ledger.path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.send_signal(number)
    begun = time.monotonic()
    for _ in range(300):
        budget.spend_message()
    seconds = time.monotonic() - begun
    assert 0.1 <= seconds < 10
    # The stopped one wakes up, and what it might have read before is old by now: no harm is done.
    holder.send_signal(signal.SIGCONT)


GENTLE = """
import os, sys, threading
import psutil
from mailhaul.worker.load import LoadLimits, gentle

def show():
    thread = psutil.Process(threading.get_native_id())
    return os.getpriority(os.PRIO_PROCESS, 0), thread.ionice().ioclass.value

if sys.argv[1] == "nobody":
    os.setgroups([])
    os.setuid(65534)
said = [show()]

def work():
    with gentle(LoadLimits(nice=7, ionice="idle")):
        said.append(show())
        with gentle(LoadLimits(nice=3, ionice="best-effort")):
            said.append(show())
        started = threading.Thread(target=lambda: said.append(show()))
        started.start()
        started.join()
    said.append(show())

if sys.argv[2] == "thread":
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
said.append(show())
print(said)
"""


@pytest.mark.parametrize("thread", ["main", "thread"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take niceness back")
def test_a_worker_stands_back_for_the_length_of_a_task(start: Processes, thread: str) -> None:
    base = os.getpriority(os.PRIO_PROCESS, 0)
    if base >= 3:
        pytest.skip("these tests run at a niceness of their own")
    out, _ = start(sys.executable, "-P", "-c", GENTLE, "root", thread).communicate(timeout=30)
    assert out.strip() == str([(base, 0), (7, 3), (7, 2), (7, 3), (base, 0), (base, 0)])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_privileges_it_stays_nice_and_reads_as_before(start: Processes) -> None:
    base = os.getpriority(os.PRIO_PROCESS, 0)
    if base >= 3:
        pytest.skip("these tests run at a niceness of their own")
    out, _ = start(sys.executable, "-P", "-c", GENTLE, "nobody", "main").communicate(timeout=30)
    assert out.strip() == str([(base, 0), (7, 3), (7, 2), (7, 3), (7, 0), (7, 0)])


CONFIG = """\
[staging]
path = "staging"

[[partition]]
format = "maildir"
path = "{store}/{{domain}}/{{user}}/Maildir"

[dispatch]
workers_per_host = 2

[load]
{limits}
"""


@pytest.mark.parametrize(("into", "workers"), [("staging", 2), ("file", 1)])
def test_a_backup_and_a_restore_keep_to_their_limits_and_are_complete(
    root: Path, mailhaul: Mailhaul, tmp_path: Path, into: str, workers: int
) -> None:
    store = tmp_path / "store"
    program = root / "deploy" / "demo" / "make_store.py"
    options = ("--messages", "300", "--users", "4")
    subprocess.run([sys.executable, program, store, *options], check=True, capture_output=True, timeout=60)
    config = tmp_path / "mailhaul.toml"
    config.write_text(
        CONFIG.format(store=store, limits='messages_per_second = 150\nnice = 5\nionice = "idle"\nramp = "1s"')
    )
    file = tmp_path / "mail.mha"
    begun = time.monotonic()
    document = mailhaul.run(config, "backup", *(("-f", file) if into == "file" else ()))
    seconds = time.monotonic() - begun
    # Four mailboxes, whose other files count too.
    assert document["messages"] == 300
    assert seconds >= 300 / 150 - BURST_NS / 1e9 - workers * BATCH_SECONDS
    restored = tmp_path / "restored"
    target = ("--to", f"maildir:{restored}/{{domain}}/{{user}}/Maildir")
    if into == "file":
        mailhaul.run(None, "restore", "/", "-f", file, *target)
    else:
        mailhaul.run(config, "verify", "--data")
        back = mailhaul.run(config, "restore", "/", *target)
        # In the first second there is little more than half of it.
        assert back["seconds"] >= 0.4 + 300 / 150 - BURST_NS / 1e9 - workers * BATCH_SECONDS
    assert mail(restored) == mail(store)


def mail(store: Path) -> dict[str, bytes]:
    """The messages of a store by their place in it."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.parent.name in ("cur", "new")
    }
