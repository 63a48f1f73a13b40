"""New Python processes, started so that they inherit nothing that they should not, and their ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import ModuleType

SPAWN = multiprocessing.get_context("spawn")

GRACE_SECONDS = 5.0
"""How long processes that were told to end may take to leave in order."""

_MESSAGE_SECONDS = 30
_STARTING = threading.Lock()


@contextmanager
def birth() -> Iterator[None]:
    """What a new process inherits, put right for the moment of its start.

    - spawn would import the program's ``__main__`` again, and with it the whole command line;
    - Python would look for its first modules in the current directory, whoever may write there;
    - a Ctrl-C would meet the new process before it knows that it has to ignore it.
    """
    os.putenv("PYTHONSAFEPATH", "1")  # for good: it does no harm to others
    resource_tracker.ensure_running()  # spawn would start it in between, and unblock signals
    with _STARTING:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def bound_waits(channel: Connection) -> None:
    """A process that is stopped in the middle of a message must not stop this process too."""
    limit = struct.pack("ll", _MESSAGE_SECONDS, 0)
    with socket.socket(fileno=os.dup(channel.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def end(process: BaseProcess) -> None:
    """See a process off: it is gone, and reaped, on return."""
    if process.is_alive():
        process.kill()
    process.join(GRACE_SECONDS)
    if process.exitcode is not None:
        process.close()


def end_of(status: int | None) -> str:
    """How a process ended, in words that follow its name; None while it lives."""
    if status is None:
        return "closed its channel"
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
