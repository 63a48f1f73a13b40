"""The process that local workers are forked from, so that what all of them need is loaded once.

It has no threads, locks or files of the program, which could not be forked safely. It starts with the first
worker, or earlier, and loads while the program goes on; it ends with the program.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from typing import Any

from .processes import GRACE_SECONDS, SPAWN, birth

_FORKS = multiprocessing.get_context("forkserver")
_SETTLING_SECONDS = 1.0


def prepare(modules: Sequence[str]) -> None:
    """Start it now, and let it import these modules, given by their whole names. Repeatable; while it is
    there, nothing is done. Where it can't be started, workers are made without it."""
    _FORKS.set_forkserver_preload(list(modules))
    _is_there()


def new_worker(target: Callable[..., object], args: tuple[object, ...], name: str) -> BaseProcess:
    """A process that is not started yet: to be done within ``birth``."""
    context = _FORKS if _is_there() else SPAWN
    return context.Process(target=target, args=args, name=name, daemon=True)


def settle() -> None:
    """To be called when a worker could not be started. A process that was killed takes no connections for a
    moment before it counts as ended: wait for that, or a little, so that the next attempt is not in vain."""
    server = _server()
    deadline = time.monotonic() + _SETTLING_SECONDS
    with suppress(ChildProcessError):
        while server._forkserver_pid is not None and time.monotonic() < deadline:
            if os.waitid(os.P_PID, server._forkserver_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(_SETTLING_SECONDS / 100)


def _is_there() -> bool:
    """Whether there is one, now that it was asked for. There is none where its socket can't be made: the
    directory of temporary files is full, or has too long a name."""
    try:
        with birth():
            forkserver.ensure_running()
    except OSError:
        return False
    return True


@atexit.register
def _dismiss() -> None:
    """End it and see it off: nothing is left of the program then, and what its workers cost is counted as the
    program's. Does not wait for longer than a process may take to leave in order."""
    server = _server()
    if server._forkserver_pid is not None:
        with suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGTERM)
        leaving = threading.Thread(target=_see_off, args=(server,), daemon=True)
        leaving.start()
        leaving.join(GRACE_SECONDS)


def _see_off(server: Any) -> None:
    with suppress(FileNotFoundError):  # its socket went with the directory of temporary files
        server._stop()


def _server() -> Any:
    # There is no other way to it: multiprocessing leaves it to find out by itself that the program is gone.
    return getattr(forkserver, "_forkserver")  # noqa: B009
