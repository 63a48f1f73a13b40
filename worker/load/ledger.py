"""The ledger of a host: until when its allowances are spoken for, shared by all workers there.

A small file with one moment for each allowance, on the clock that all processes of a host share
(CLOCK_MONOTONIC). Who wants to do something books the time that it takes at the allowed rate, behind what
others have booked, and waits until its turn has come. Nobody holds the file's lock while waiting, and what
a process booked that is gone costs its share of time and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...proto.errors import BackupError
from .shared import boot_id, check_ours, shared_file

ALLOWANCES = 2
"""A ledger keeps so many, by number."""

BURST_NS = 100_000_000
"""So much time that nobody made use of can still be booked: those who woke up late catch up."""

PATIENCE_SECONDS = 0.05
"""How long to wait for the lock, which others hold for microseconds unless they are stopped meanwhile.
Then it goes without: the worst that comes of it is that one booking is forgotten."""

_RETRY_SECONDS = 0.002
_RECORD = struct.Struct(f"<16s{ALLOWANCES}q")
"""The id of the boot of which the moments are, then the moments in nanoseconds."""


class Ledger:
    """The ledger at a path, in a directory that nobody else may write to."""

    def __init__(self, path: Path, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Make the file if there is none. Raises BackupError."""
        self.path = path
        self._clock = clock
        self._boot = boot_id()
        self.book(0, 0)

    def book(self, allowance: int, length_ns: int) -> int:
        """Book the next free time of this length; returns when it begins, by the clock, which may be up to
        BURST_NS ago. Raises BackupError."""
        with self._opened() as file, _locked(file):
            moments = self._read(file)
            begins = max(moments[allowance], self._clock() - BURST_NS)
            moments[allowance] = begins + length_ns
            os.pwrite(file, _RECORD.pack(self._boot, *moments), 0)
        return begins

    def _read(self, file: int) -> list[int]:
        record = os.pread(file, _RECORD.size, 0)
        if len(record) == _RECORD.size:
            boot, *moments = _RECORD.unpack(record)
            if boot == self._boot:
                return moments
        return [self._clock()] * ALLOWANCES

    @contextmanager
    def _opened(self) -> Iterator[int]:
        # Opened anew for each booking: these are rare, and there is nothing to be closed later.
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                check_ours(self.path, os.fstat(file), stat.S_IFREG)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise BackupError(
                f"{self.path}: the load on this host can't be bounded: {error.strerror}",
                path=str(self.path),
            ) from error


def host_ledger(host: str) -> Ledger:
    """The ledger of a host, by the name that tasks call it by (empty: the coordinator's own), shared by all
    processes there that run as the same user. Raises BackupError."""
    return Ledger(shared_file(host, "load"))


@contextmanager
def _locked(file: int) -> Iterator[None]:
    """Hold the lock of a file, or go without it after PATIENCE_SECONDS."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= until:
                break
            time.sleep(_RETRY_SECONDS)
    yield  # closing the file is what unlocks it
