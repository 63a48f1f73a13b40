"""The local engine: worker processes on this machine, each with one task at a time.

``core.Core`` decides, this carries it out over one pipe per worker. A worker that is killed costs one
attempt at its task and nothing else (an executor of concurrent.futures gives up all tasks then).
"""

from __future__ import annotations

import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from ...proto.errors import WorkerLostError
from ...proto.ports import ProgressSink
from ...proto.records import Progress
from ...proto.structs import Mutable
from ..core import Core, Event, TaskFailed, WorkerLost, WorkerReady
from . import child
from .driver import ATTEMPTS, STEADY, Admission, Pace, always, dispatch, event_of
from .engine import Engine, Outcome, ReportT, TaskT
from .nursery import new_worker, settle
from .processes import GRACE_SECONDS, birth, bound_waits, end, end_of
from .tuning import USUAL, Tuner

START_SECONDS = 60.0
"""A worker that is not ready in this time is given up."""

HERE = ""
"""The only host of this engine."""

_JOIN_SECONDS = 1.0


def local_engine(
    workers: int, *, admit: Admission = always, attempts: int = ATTEMPTS, lanes: Sequence[str] = ()
) -> Engine:
    """``run_tasks`` with at most so many workers, as the port that runs and restores use. Tasks are begun
    while ``admit`` says so, and tried so often."""

    def engine(
        function: Callable[[Any, ProgressSink], ReportT], tasks: Sequence[TaskT], on_progress: ProgressSink
    ) -> Iterator[Outcome[TaskT, ReportT]]:
        return run_tasks(
            function,
            tasks,
            workers=workers,
            on_progress=on_progress,
            attempts=attempts,
            admit=admit,
            lanes=lanes,
        )

    return engine


def run_tasks(
    function: Callable[[Any, ProgressSink], ReportT],
    tasks: Sequence[TaskT],
    *,
    workers: int,
    on_progress: ProgressSink,
    attempts: int = ATTEMPTS,
    admit: Admission = always,
    pace: Pace = STEADY,
    lanes: Sequence[str] = (),
) -> Iterator[Outcome[TaskT, ReportT]]:
    """See ``Engine``: up to ``workers`` processes, as many of them as gain anything (``tuning``), never more
    than tasks; 0 stands for this process. All tasks run here, whatever their hosts, and are told so by an
    empty name. With ``lanes`` there are so many workers for each, and a task names those that it can be done
    in as its hosts: who is slow in one holds nobody up in another.

    ``function`` must be importable by its name, tasks and reports picklable. ``on_progress`` is called
    by the thread that iterates. Closing the iterator, or an exception in its consumer's loop, ends the
    workers: with SIGTERM, which their tasks see as SystemExit, then SIGKILL.

    Workers share this process's stdout and stderr, and import what ``function`` needs, but not
    ``__main__``. They ignore SIGINT, as the KeyboardInterrupt here ends them. Where SIGTERM shall do the
    same, the program must turn it into an exception; if it just dies, by SIGTERM or SIGKILL, its workers
    notice and end within about a second.
    """
    tuner = Tuner(max(workers, 1), max(USUAL, len(os.sched_getaffinity(0))))

    def note(progress: Progress) -> None:
        tuner.note(progress)
        on_progress(progress)

    crew: _Here | _Processes = _Here(function, note) if workers == 0 else _Processes(function, note)
    core = Core(
        [task.hosts if lanes else () for task in tasks],
        hosts=lanes or [HERE],
        workers=tuner.first,
        attempts=attempts,
    )
    try:
        yield from dispatch(tasks, core, crew, pace=pace, admit=admit, tuner=tuner)
    finally:
        crew.close()


class _Here:
    """Workers that are this process, one after the other."""

    def __init__(self, function: Callable[[Any, ProgressSink], object], on_progress: ProgressSink) -> None:
        self._function = function
        self._on_progress = on_progress
        self._next: deque[Callable[[], Event]] = deque()

    def start(self, worker: int, _host: str) -> None:
        self._next.append(lambda: WorkerReady(worker))

    def assign(self, worker: int, task: object) -> None:
        call = partial(self._function, task, self._on_progress)
        self._next.append(lambda: event_of(worker, child.attempt(call)))

    def stop(self, worker: int) -> None:
        pass

    def events(self, timeout_seconds: float) -> list[Event]:
        if not self._next:
            time.sleep(timeout_seconds)
            return []
        return [self._next.popleft()()]

    def close(self) -> None:
        pass


class _Worker(Mutable):
    process: BaseProcess
    channel: Connection
    ready_by: float | None


class _Processes:
    """Workers that are processes of their own."""

    def __init__(self, function: Callable[[Any, ProgressSink], object], on_progress: ProgressSink) -> None:
        self._function = function
        self._on_progress = on_progress
        self._workers: dict[int, _Worker] = {}
        self._leaving: list[BaseProcess] = []
        self._noticed: list[Event] = []

    def start(self, worker: int, _host: str) -> None:
        ours, theirs = Pipe()
        try:
            process = new_worker(child.work, (self._function, theirs), f"worker-{worker}")
            with birth():
                process.start()
                self._workers[worker] = _Worker(process, ours, time.monotonic() + START_SECONDS)
            bound_waits(ours)
        except (OSError, EOFError) as error:
            ours.close()
            settle()
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

    def events(self, timeout_seconds: float) -> list[Event]:
        if not self._noticed:
            self._wait(timeout_seconds)
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
                end(process)
            self._workers, self._leaving = {}, []

    def _wait(self, timeout_seconds: float) -> None:
        sources: dict[Connection | int, int] = {}
        for number, worker in self._workers.items():
            sources[worker.channel] = sources[worker.process.sentinel] = number
        ready = {sources[cast(Connection | int, source)] for source in wait(list(sources), timeout_seconds)}
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
            try:
                if said.done:
                    worker.channel.send_bytes(child.NOTED)
            except OSError:
                return [self._lose(number)]
            return []
        worker.ready_by = None
        return [event_of(number, said)]

    def _lose(self, number: int, how: str = "") -> WorkerLost:
        worker = self._workers.pop(number)
        worker.channel.close()
        pid = worker.process.pid
        if not how:
            worker.process.join(_JOIN_SECONDS)
            how = end_of(worker.process.exitcode)
        end(worker.process)
        return WorkerLost(number, WorkerLostError(f"worker {pid} {how}", pid=pid))
