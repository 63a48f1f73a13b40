"""Run one command and measure it: wall time, CPU time and peak memory of all its processes.

CPU time is what the kernel charged to the command and to every descendant it waited for. Memory is
sampled twenty times a second: the sum of the proportional set sizes (shared pages counted once) of
all processes of the command's session, or the peak that the kernel kept of its largest process,
whichever is more. The peak that ``wait4`` reports is of no use: it begins with the memory of the
process that started the command. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_SECONDS = 0.05
LIMIT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, where, and what of its environment is set beside ours."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ok: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a command cost. ``output`` is the file that took its standard output."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    output: Path


class CommandFailed(Exception):
    """A command of a benchmark ended with an error, or did not end in time."""


def run(command: Command, output: Path) -> Measured:
    """Run a command to its end with its standard output in a file. Raises CommandFailed."""
    with open(output, "wb") as stdout, tempfile.TemporaryFile() as stderr:
        began = time.perf_counter()
        # A session of its own marks the processes that belong to the command.
        process = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env={**os.environ, **command.env},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        watch = _MemoryWatch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = watch.stop()
        if process.returncode not in command.ok:
            stderr.seek(0)
            told = stderr.read()[-2000:].decode(errors="replace")
            raise CommandFailed(f"{' '.join(command.argv)}: exit status {process.returncode}\n{told}")
    return Measured(
        wall_seconds=wall,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_memory_bytes=peak,
        output=output,
    )


class _MemoryWatch:
    """Samples the memory of a session in a thread; ends the session when it runs for too long."""

    def __init__(self, session: int) -> None:
        self._session, self._peak, self._over = session, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> int:
        """The peak in bytes."""
        self._over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while not self._over.wait(SAMPLE_SECONDS):
            now = [_memory(pid) for pid in _members(self._session)]
            self._peak = max(self._peak, sum(pss for pss, _ in now), *(peak for _, peak in now))
            if time.monotonic() > end:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._session, 9)


def _members(session: int) -> list[str]:
    """Process ids of a session."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            # After the name in parentheses: state, parent, process group, session.
            if int(Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found.append(pid)
    return found


def _memory(pid: str) -> tuple[int, int]:
    """Proportional set size of a process and the peak of its resident set, in bytes; 0 once it is gone."""
    with contextlib.suppress(OSError):
        now = re.search(r"^Pss:\s+(\d+) kB", Path("/proc", pid, "smaps_rollup").read_text(), re.MULTILINE)
        peak = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc", pid, "status").read_text(), re.MULTILINE)
        return (int(now[1]) * 1024, int(peak[1]) * 1024) if now and peak else (0, 0)
    return 0, 0
