"""The worker's side of the local engine: what runs in each of its processes, and what they say.

A worker takes one task at a time from its channel until that is closed. It ends by itself when the
program that started it is gone, and lets the terminal's Ctrl-C be that program's business.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from ...proto.errors import BackupError
from ...proto.ports import ProgressSink
from ...proto.records import Progress
from ...proto.structs import Record

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PROGRESS_SECONDS = 0.2
"""At most one progress record in this time; the others are dropped."""

ORPHAN_SECONDS = 1.0
"""How long a worker whose parent is gone may take to leave its task in order."""


class Ready(Record):
    """The worker waits for its first task."""


class Done(Record):
    """The task is done."""

    report: object


class Failed(Record):
    """The task raised."""

    error: BackupError


Answer = Ready | Done | Failed
"""What comes out of a channel, beside Progress. What goes in is the tasks, and NOTED."""

NOTED = b""
"""The parent has taken note of what is done: of each Progress that tells so, before anything else is sent."""


def work(function: Callable[[Any, ProgressSink], object], channel: Connection) -> None:
    """Serve a channel until it is closed. Never raises because of a task."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=watch_parent, name="parent", daemon=True).start()
    try:
        channel.send(Ready())
        while True:
            task = channel.recv_bytes()
            channel.send_bytes(encoded(attempt(partial(_call, function, task, _Reporter(channel)))))
    except (EOFError, ConnectionError):
        return


def _call(function: Callable[[Any, ProgressSink], object], task: bytes, progress: ProgressSink) -> object:
    import pickle

    return function(pickle.loads(task), progress)  # noqa: S301


def attempt(call: Callable[[], object]) -> Done | Failed:
    """Do a task. Whatever it raises, short of leaving the process, is the answer."""
    try:
        return Done(call())
    except BackupError as error:
        return Failed(error)
    except Exception as error:
        return Failed(unexpected(error))


def unexpected(error: Exception) -> BackupError:
    """An exception that nobody meant to raise, as an error that crosses process boundaries."""
    told = traceback.format_exception_only(error)[-1].strip()
    trace = "".join(traceback.format_exception(error))
    return BackupError(told, exception=type(error).__name__, traceback=trace)


def encoded(answer: Answer) -> bytes:
    """A pickle that the other side can read: an answer that can't cross becomes the error that says so."""
    try:
        return _tried(answer)
    except Exception as error:
        if isinstance(answer, Failed):
            told = BackupError(answer.error.message, exception=type(answer.error).__name__)
        else:
            told = BackupError(f"the report of a task can't be sent: {error}")
        import pickle

        return pickle.dumps(Failed(told))


def _tried(answer: Answer) -> bytes:
    import pickle

    data = pickle.dumps(answer)
    if isinstance(answer, Failed):
        # Errors are small, and some can be written and not read: those whose class wants other arguments.
        pickle.loads(data)  # noqa: S301
    return data


class _Reporter:
    """Sends progress now and then, and never waits for a parent that is slow to read. What is done is told
    at once, and the work goes on when the parent has taken note of that."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._writable = select.poll()
        self._writable.register(channel, select.POLLOUT)
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < self._next and not progress.done:
            return
        self._next = now + PROGRESS_SECONDS
        with suppress(OSError, EOFError):  # nobody is there any more: watch_parent sees to it
            if progress.done:
                self._channel.send(progress)
                self._channel.recv_bytes()
            elif self._writable.poll(0):
                self._channel.send(progress)


def _leave(number: int, *_: object) -> NoReturn:
    """SIGTERM: leave the task by way of its ``finally`` clauses."""
    signal.signal(number, signal.SIG_IGN)  # a second one must not cut these short
    raise SystemExit(128 + number)


def watch_parent() -> None:
    """Wait, in a thread, for the end of the parent however it ends; then leave, in order if that is quick."""
    # Here, as a program that has no workers imports this module, too.
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(128 + signal.SIGTERM)
