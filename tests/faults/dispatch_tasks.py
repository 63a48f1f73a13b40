"""What the workers of the dispatch tests do. A module of its own, because a worker imports its function."""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mailhaul.proto.errors import BackupError, MessageUnavailable, StagingError
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import Progress
from mailhaul.proto.structs import Record, replace

MEETING_SECONDS = 40.0
"""How long one task waits for another on a busy machine."""


class Job(Record):
    """Do something with a directory of one's own, told by the name of a function below."""

    what: str
    place: Path
    number: int = 0
    seconds: float = 0.0
    hosts: tuple[str, ...] = ()
    host: str = ""
    attempt: int = 0

    @property
    def label(self) -> str:
        return str(self.number)

    def attempted(self, host: str, attempt: int) -> Job:
        return replace(self, host=host, attempt=attempt)


def run(job: Job, progress: ProgressSink) -> object:
    """The dispatched function. Leaves a file ``<number>.<pid>`` for every attempt."""
    (job.place / f"{job.number}.{os.getpid()}").touch()
    return globals()[job.what](job, progress)


def square(job: Job, progress: ProgressSink) -> int:
    time.sleep(job.seconds)
    return job.number**2


def tell_often(job: Job, progress: ProgressSink) -> int:
    """Tells its progress until it is ended, or its time is over."""
    end = time.monotonic() + job.seconds
    while time.monotonic() < end:
        progress(Progress(job.label, 1, 0))
        time.sleep(0.01)
    return os.getpid()


def open_sockets(job: Job, progress: ProgressSink) -> set[str]:
    """Those of this process; the same connection has the same name in each process that has it."""
    links = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this very loop
            links.add(os.readlink(path))
    return {link for link in links if link.startswith("socket:")}


def tell_attempt(job: Job, progress: ProgressSink) -> tuple[str, int]:
    return job.host, job.attempt


@dataclass(frozen=True)
class Turn:
    """One task's time on a worker: where, from when, with how many others on the same host."""

    host: str
    node: str
    begun: float
    together: int


def take_turn(job: Job, progress: ProgressSink) -> Turn:
    """The first of each host wait for one more: workers start when they can."""
    import ray  # as a worker of the Ray engine only

    begun = time.monotonic()  # one clock for all processes of a machine
    mark, met = job.place / f"{job.host}-{os.getpid()}", job.place / f"{job.host}.met"
    mark.touch()
    time.sleep(job.seconds)
    while (together := len(list(job.place.glob(f"{job.host}-*")))) < 2 and not met.exists():
        if time.monotonic() > begun + job.seconds + MEETING_SECONDS:
            break
        time.sleep(0.05)
    met.touch()
    mark.unlink()
    return Turn(job.host, ray.get_runtime_context().get_node_id(), begun, together)


def take_turn_alone(job: Job, progress: ProgressSink) -> Turn:
    (job.place / f"{job.host}.met").touch()
    return take_turn(job, progress)


def follow(job: Job, progress: ProgressSink) -> int:
    """Done when ``sit`` has begun."""
    limit = time.monotonic() + MEETING_SECONDS
    while not list(job.place.glob("begun.*")) and time.monotonic() < limit:
        time.sleep(0.05)
    return job.number


def sit(job: Job, progress: ProgressSink) -> tuple[str, int]:
    """The first attempt takes as long as it is let; the others are quick."""
    (job.place / f"begun.{job.number}.{job.host}.{job.attempt}.{os.getpid()}").touch()
    if job.attempt == 1:
        time.sleep(60)
    return job.host, job.attempt


def report_place(job: Job, progress: ProgressSink) -> None:
    progress(Progress(f"{job.number} on {job.host}", 1, 0))


def tell_done(job: Job, progress: ProgressSink) -> int:
    """Tell of each step that it is done; a file says how many were begun."""
    for count in range(job.number):
        (job.place / "begun").write_text(str(count + 1))
        progress(Progress("unit", count, 0, done=(f"{count} is done",)))
    return job.number


def append_to(file: Path, host: str) -> ProgressSink:
    """Progress that goes to a file, a line each."""

    def sink(progress: Progress) -> None:
        with open(file, "a") as lines:
            lines.write(f"{progress.unit}, said {host}\n")

    return sink


def tell_pid(job: Job, progress: ProgressSink) -> int:
    return os.getpid()


def tell_modules(job: Job, progress: ProgressSink) -> list[str]:
    return sorted(sys.modules)


def tell_interrupt(job: Job, progress: ProgressSink) -> tuple[bool, bool]:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN, signal.SIGINT in blocked


def die(job: Job, progress: ProgressSink) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(job: Job, progress: ProgressSink) -> None:
    sys.exit(7)


def die_once(job: Job, progress: ProgressSink) -> int:
    if len(list(job.place.glob(f"{job.number}.*"))) == 1:
        die(job, progress)
    return square(job, progress)


def fail_once(job: Job, progress: ProgressSink) -> int:
    mark = job.place / "failed"
    if not mark.exists():
        mark.touch()
        raise StagingError("full for now", free_bytes=0)
    return square(job, progress)


def fail(job: Job, progress: ProgressSink) -> None:
    raise MessageUnavailable("gone", reason="vanished", path="/primary")


def crash(job: Job, progress: ProgressSink) -> None:
    raise KeyError("a mistake")


class Stubborn(Exception):
    """Can be neither shown nor pickled."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __str__(self) -> str:
        raise RuntimeError("no")


class Picky(BackupError):
    """Can be pickled, but not read back."""

    def __init__(self, message: str, *, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


def raise_stubborn(job: Job, progress: ProgressSink) -> None:
    raise Stubborn


def raise_picky(job: Job, progress: ProgressSink) -> None:
    raise Picky("picky", needed=1)


def raise_with_lock(job: Job, progress: ProgressSink) -> None:
    raise StagingError("holds a lock", lock=threading.Lock())


def return_lock(job: Job, progress: ProgressSink) -> object:
    return threading.Lock()


class Unreadable:
    """Can be pickled, but not read back."""

    def __reduce__(self) -> tuple[object, ...]:
        return (int, ("no number",))


def return_unreadable(job: Job, progress: ProgressSink) -> object:
    return Unreadable()


def return_much(job: Job, progress: ProgressSink) -> bytes:
    return bytes(50_000_000)


def report_often(job: Job, progress: ProgressSink) -> int:
    done = time.monotonic() + job.seconds
    count = 0
    while time.monotonic() < done:
        count += 1
        progress(Progress(str(job.number), count, 0))
    return count


def stall(job: Job, progress: ProgressSink) -> None:
    """Begin an answer of 1,000 bytes, and never go on."""
    (channel,) = (fd for fd in range(3, 100) if Path(f"/proc/self/fd/{fd}").resolve().match("socket:*"))
    os.write(channel, struct.pack("!i", 1000))
    time.sleep(60)


def hold_gil(job: Job, progress: ProgressSink) -> None:
    """One long stretch of work that notices no signal and no closed pipe; ends after a minute at most."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    time.sleep(60)


def tidy_up(job: Job, progress: ProgressSink) -> None:
    try:
        time.sleep(60)
    finally:
        (job.place / f"tidy.{job.number}").touch()


def see_share(job: Job, progress: ProgressSink) -> float:
    """Works until its host has a share that is not all, or its time is over; that share."""
    from mailhaul.worker.load.share import Share

    end = time.monotonic() + job.seconds
    seen = Share(job.host, "test")
    while (share := seen.at(time.monotonic_ns())) == 1.0 and time.monotonic() < end:
        time.sleep(0.01)
    return share
