"""What the workers of test_local_dispatch do. A module of its own, because a worker imports its function."""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mailhaul.proto.errors import BackupError, MessageUnavailable, StagingError
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import Progress


@dataclass(frozen=True)
class Job:
    """Do something with a directory of one's own, told by the name of a function below."""

    what: str
    place: Path
    number: int = 0
    seconds: float = 0.0


def run(job: Job, progress: ProgressSink) -> object:
    """The dispatched function. Leaves a file ``<number>.<pid>`` for every attempt."""
    (job.place / f"{job.number}.{os.getpid()}").touch()
    return globals()[job.what](job, progress)


def square(job: Job, progress: ProgressSink) -> int:
    time.sleep(job.seconds)
    return job.number**2


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
