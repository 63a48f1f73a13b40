"""Operations in processes of their own, each in a session of its own: started, asked to end, killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..service.records import Operation
from .files import is_carried_out, open_stderr
from .private_keys import inherited


class Started(Protocol):
    """A process that was started."""

    def poll(self) -> int | None:
        """Its exit status; None as long as it lives."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """Have it and all that it has started ended, whatever they do."""


class Starter(Protocol):
    """Starts the process of an operation."""

    def __call__(self, number: int) -> Started:
        """Begin; does not wait until the operation runs. Raises StagingError, OSError."""


class ProcessStarter:
    """Starts ``COMMAND operations run ID``, where ``command`` are the words that call this program with the
    configuration of the coordinator. What it says goes to the operation's files. ``key_of`` gives the private
    key that was handed in for an operation; empty if there is none."""

    def __init__(
        self, staging: Path, command: Sequence[str], key_of: Callable[[int], bytes] = lambda _: b""
    ) -> None:
        self._staging = staging
        self._command = tuple(command)
        self._key_of = key_of

    def __call__(self, number: int) -> Started:
        """See Starter."""
        words = [*self._command, "operations", "run", str(number)]
        if not (key := self._key_of(number)):
            return self._started(number, words, ())
        with inherited(key) as descriptor:
            return self._started(number, [*words, "--key", str(descriptor)], (descriptor,))

    def _started(self, number: int, words: Sequence[str], descriptors: Sequence[int]) -> Started:
        said = open_stderr(self._staging, number)
        try:
            process = subprocess.Popen(
                words,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                pass_fds=descriptors,
            )
        finally:
            os.close(said)
        return _Session(process)


class _Session:
    """A process that leads a session of its own. See Started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        if self._process.poll() is None:  # so its id is nobody else's until it is polled again
            os.killpg(self._process.pid, signal.SIGKILL)


def ask_to_end(staging: Path, operation: Operation) -> None:
    """SIGTERM for the process of an operation, as the command line takes it: what is sealed stays. Nothing
    where it has ended."""
    _signal(staging, operation, signal.SIGTERM)


def kill(staging: Path, operation: Operation) -> None:
    """SIGKILL for it and all that it has started. Nothing where it has ended."""
    if _signal(staging, operation, signal.SIGSTOP):
        # It can't end now, so its id is nobody else's.
        with suppress(ProcessLookupError):
            os.killpg(operation.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(operation.pid, signal.SIGKILL)


def _signal(staging: Path, operation: Operation, number: signal.Signals) -> bool:
    """Send a signal to a process that is known to be that of the operation, as it holds the lock. False where
    it is gone."""
    try:
        process = os.pidfd_open(operation.pid)
    except OSError:
        return False
    try:
        # The lock is held, so its process lives; and what was opened can't become another process.
        if not is_carried_out(staging, operation.id):
            return False
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(process)
    return True
