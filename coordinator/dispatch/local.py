"""The local engine: worker processes on this machine, each with one task at a time.

``core.Core`` decides, this carries it out over one pipe per worker. A worker that is killed costs one
attempt at its task and nothing else (an executor of concurrent.futures gives up all tasks then).
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any, Protocol, cast

from ...proto.errors import WorkerLostError
from ...proto.ports import ProgressSink
from ...proto.records import Progress
from ..core import Assign, Core, Event, Finish, Start, Stop, TaskDone, TaskFailed, WorkerLost, WorkerReady
from . import child
from .engine import Engine, Outcome, ReportT, TaskT

ATTEMPTS = 3
"""How often a task is tried whose error is retryable, or whose worker is lost."""

START_SECONDS = 60.0
"""A worker that is not ready in this time is given up."""

GRACE_SECONDS = 5.0
"""How long workers that were told to end may take to leave their tasks in order."""

_TURN_SECONDS = 1.0
_MESSAGE_SECONDS = 30
_SPAWN = multiprocessing.get_context("spawn")
_STARTING = threading.Lock()


def local_engine(workers: int, attempts: int = ATTEMPTS) -> Engine:
    """``run_tasks`` with a fixed number of workers, as the port that runs and restores use."""

    def engine(
        function: Callable[[TaskT, ProgressSink], ReportT], tasks: Sequence[TaskT], on_progress: ProgressSink
    ) -> Iterator[Outcome[TaskT, ReportT]]:
        return run_tasks(function, tasks, workers=workers, on_progress=on_progress, attempts=attempts)

    return engine


def run_tasks(
    function: Callable[[TaskT, ProgressSink], ReportT],
    tasks: Sequence[TaskT],
    *,
    workers: int,
    on_progress: ProgressSink,
    attempts: int = ATTEMPTS,
) -> Iterator[Outcome[TaskT, ReportT]]:
    """See ``Engine``: up to ``workers`` processes, never more than tasks; 0 stands for this process.

    ``function`` must be importable by its name, tasks and reports picklable. ``on_progress`` is called
    by the thread that iterates. Closing the iterator, or an exception in its consumer's loop, ends the
    workers: with SIGTERM, which their tasks see as SystemExit, then SIGKILL.

    Workers share this process's stdout and stderr, and import what ``function`` needs, but not
    ``__main__``. They ignore SIGINT, as the KeyboardInterrupt here ends them. Where SIGTERM shall do the
    same, the program must turn it into an exception; if it just dies, by SIGTERM or SIGKILL, its workers
    notice and end within about a second.
    """
    crew: _Crew = _Here(function, on_progress) if workers == 0 else _Processes(function, on_progress)
    core = Core(len(tasks), workers=max(workers, 1), attempts=attempts)
    try:
        instructions = core.begin()
        while True:
            for instruction in instructions:
                match instruction:
                    case Start(worker):
                        crew.start(worker)
                    case Assign(worker, task):
                        crew.assign(worker, tasks[task])
                    case Stop(worker):
                        crew.stop(worker)
            for instruction in instructions:
                if isinstance(instruction, Finish):
                    yield _outcome(tasks, instruction)
            if core.finished:
                return
            instructions = [told for event in crew.events() for told in core.step(event)]
    finally:
        crew.close()


def _outcome(tasks: Sequence[TaskT], ended: Finish) -> Outcome[TaskT, ReportT]:
    return Outcome(
        task=tasks[ended.task],
        attempts=ended.attempts,
        report=cast(ReportT | None, ended.report),
        error=ended.error,
    )


class _Crew(Protocol):
    """Workers, by the numbers that the core gave them."""

    def start(self, worker: int) -> None: ...

    def assign(self, worker: int, task: object) -> None: ...

    def stop(self, worker: int) -> None: ...

    def events(self) -> list[Event]:
        """What happened since; waits a bounded time for something to happen, and may be empty."""

    def close(self) -> None:
        """End every worker that is left."""


class _Here:
    """One worker, which is this process."""

    def __init__(self, function: Callable[[Any, ProgressSink], object], on_progress: ProgressSink) -> None:
        self._function = function
        self._on_progress = on_progress
        self._next: Callable[[], Event]

    def start(self, worker: int) -> None:
        self._next = lambda: WorkerReady(worker)

    def assign(self, worker: int, task: object) -> None:
        call = partial(self._function, task, self._on_progress)
        self._next = lambda: _event(worker, child.attempt(call))

    def stop(self, worker: int) -> None:
        pass

    def events(self) -> list[Event]:
        return [self._next()]

    def close(self) -> None:
        pass


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    channel: Connection
    ready_by: float | None


class _Processes:
    """Workers that are processes of their own."""

    def __init__(self, function: Callable[[Any, ProgressSink], object], on_progress: ProgressSink) -> None:
        self._function = function
        self._on_progress = on_progress
        self._workers: dict[int, _Worker] = {}
        self._leaving: list[SpawnProcess] = []
        self._noticed: list[Event] = []

    def start(self, worker: int) -> None:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=child.work, args=(self._function, theirs), name=f"worker-{worker}", daemon=True
        )
        try:
            with _birth():
                process.start()
                self._workers[worker] = _Worker(process, ours, time.monotonic() + START_SECONDS)
            _bound_waits(ours)
        except OSError as error:
            ours.close()
            lost = WorkerLostError(f"a worker can't be started: {error}")
            self._noticed.append(WorkerLost(worker, lost))
        finally:
            # With the worker's end open here too, its death would not close the channel.
            theirs.close()

    def assign(self, worker: int, task: object) -> None:
        try:
            data = pickle.dumps(task)
        except Exception as error:
            self._noticed.append(TaskFailed(worker, child.unexpected(error)))
            return
        try:
            self._workers[worker].channel.send_bytes(data)
        except OSError:
            self._noticed.append(self._lose(worker))

    def stop(self, worker: int) -> None:
        gone = self._workers.pop(worker)
        gone.channel.close()
        self._leaving.append(gone.process)

    def events(self) -> list[Event]:
        if not self._noticed:
            self._wait()
        noticed, self._noticed = self._noticed, []
        return noticed

    def close(self) -> None:
        for worker in self._workers.values():
            worker.channel.close()
            worker.process.terminate()
            self._leaving.append(worker.process)
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            for process in self._leaving:
                process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for process in self._leaving:
                _end(process)
            self._workers, self._leaving = {}, []

    def _wait(self) -> None:
        sources: dict[Connection | int, int] = {}
        for number, worker in self._workers.items():
            sources[worker.channel] = sources[worker.process.sentinel] = number
        ready = {sources[cast(Connection | int, source)] for source in wait(list(sources), _TURN_SECONDS)}
        for number in sorted(ready):
            self._noticed += self._read(number)
        now = time.monotonic()
        for number, worker in list(self._workers.items()):
            if worker.ready_by is not None and worker.ready_by < now:
                self._noticed.append(self._lose(number, f"was not ready within {START_SECONDS:.0f} s"))

    def _read(self, number: int) -> list[Event]:
        """The next that a worker says, or else how it ended."""
        worker = self._workers[number]
        try:
            # A worker that has ended may have answered before: that comes first.
            data = worker.channel.recv_bytes() if worker.channel.poll() else None
        except (EOFError, OSError):
            data = None
        if data is None:
            return [self._lose(number)]
        try:
            said = pickle.loads(data)  # noqa: S301
        except Exception as error:
            return [TaskFailed(number, child.unexpected(error))]
        if isinstance(said, Progress):
            self._on_progress(said)
            return []
        worker.ready_by = None
        return [_event(number, said)]

    def _lose(self, number: int, how: str = "") -> WorkerLost:
        worker = self._workers.pop(number)
        worker.channel.close()
        pid = worker.process.pid
        if not how:
            worker.process.join(_TURN_SECONDS)
            how = _end_of(worker.process.exitcode)
        _end(worker.process)
        return WorkerLost(number, WorkerLostError(f"worker {pid} {how}", pid=pid))


def _event(worker: int, answer: child.Answer) -> Event:
    match answer:
        case child.Done(report):
            return TaskDone(worker, report)
        case child.Failed(error):
            return TaskFailed(worker, error)
        case child.Ready():
            return WorkerReady(worker)


def _end_of(status: int | None) -> str:
    if status is None:
        return "closed its channel"
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _end(process: SpawnProcess) -> None:
    """See a process off: it is gone, and reaped, on return."""
    if process.is_alive():
        process.kill()
    process.join(GRACE_SECONDS)
    if process.exitcode is not None:
        process.close()


def _bound_waits(channel: Connection) -> None:
    """A worker that is stopped in the middle of a message must not stop this process too."""
    limit = struct.pack("ll", _MESSAGE_SECONDS, 0)
    with socket.socket(fileno=os.dup(channel.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


@contextmanager
def _birth() -> Iterator[None]:
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
