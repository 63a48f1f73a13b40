"""The place of a worker behind others on its host: niceness, and the class of its disk reads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...proto.errors import BackupError
from .limits import IoClass, LoadLimits

_LOWEST_LEVEL = 7
"""Of the class best-effort, which has levels 0 to 7."""


@contextmanager
def gentle(limits: LoadLimits) -> Iterator[None]:
    """Be as nice as told while the context lasts, in this thread and in those that it starts.

    Without privileges a niceness can't be taken back: the process stays nice then, as workers do nothing
    but such work. Raises BackupError where the system refuses.
    """
    with _niceness(limits.nice), _io_class(limits.ionice):
        yield


@contextmanager
def _niceness(nice: int) -> Iterator[None]:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    if nice <= before:
        yield
        return
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def _io_class(name: IoClass) -> Iterator[None]:
    if not name:
        yield
        return
    import psutil  # takes 20 ms, which workers without such a limit need not pay

    # The kernel keeps this by thread, and knows threads by numbers like those of processes.
    thread = psutil.Process(threading.get_native_id())
    try:
        before = thread.ionice()
        if name == "idle":
            thread.ionice(psutil.IOPRIO_CLASS_IDLE)
        else:
            thread.ionice(psutil.IOPRIO_CLASS_BE, _LOWEST_LEVEL)
    except (psutil.Error, OSError) as error:
        raise BackupError(f"ionice = {name!r} can't be set on this host: {error}") from error
    try:
        yield
    finally:
        with suppress(psutil.Error, OSError):
            thread.ionice(before.ioclass, before.value)
