"""The local engine: worker processes on this machine, each with one task at a time.

``core.Core`` decides, this carries it out over one pipe per worker. A worker that is killed costs one
attempt at its task and nothing else (an executor of concurrent.futures gives up all tasks then). Where
little is to be expected the first worker is a thread of this process (docs/decisions/0052-small-nights.md).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from ...proto.ports import ProgressSink
from ...proto.records import Progress
from ...proto.structs import Record
from ..core import Core, Event, WorkerReady, WorkersWanted
from . import child
from .driver import ATTEMPTS, STEADY, Admission, Crew, Pace, always, dispatch, event_of
from .engine import Engine, Outcome, ReportT, TaskT
from .tuning import FREE, USUAL, Restraint, Tuner


class AtFirstHere(Record):
    """A thread of this process does one task after the other, for so many seconds alone; then ``prepare`` is
    called, and processes of their own help it."""

    seconds: float
    prepare: Callable[[], object]


_LEAVE_SECONDS = 5.0
"""How long the thread may take to leave its task in order."""

_LOOK_SECONDS = 0.1
"""So often it is looked for what the thread says while processes are waited for."""

HERE = ""
"""The only host of this engine."""


def local_engine(
    workers: int,
    *,
    admit: Admission = always,
    attempts: int = ATTEMPTS,
    lanes: Sequence[str] = (),
    at_first_here: AtFirstHere | None = None,
    restraint: Restraint = FREE,
) -> Engine:
    """``run_tasks`` with at most so many workers, as the port that runs and restores use. Tasks are begun
    while ``admit`` says so, and tried so often; ``restraint`` may hold them back."""

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
            at_first_here=at_first_here,
            restraint=restraint,
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
    at_first_here: AtFirstHere | None = None,
    restraint: Restraint = FREE,
) -> Iterator[Outcome[TaskT, ReportT]]:
    """See ``Engine``: up to ``workers`` processes, as many of them as gain anything (``tuning``), never
    more than tasks; 0 stands for this process. All tasks run here, whatever their hosts, and are told so by
    an empty name. With ``lanes`` there are so many workers for each, and a task names those that it can be
    done in as its hosts: who is slow in one holds nobody up in another. With ``at_first_here`` a thread of
    this process is the only worker until its time is over; it ends at the next progress of its task. There
    are fewer workers while the ``restraint`` wants that.

    ``function`` must be importable by its name, tasks and reports picklable. ``on_progress`` is called
    by the thread that iterates. Closing the iterator, or an exception in its consumer's loop, ends the
    workers: with SIGTERM, which their tasks see as SystemExit, then SIGKILL.

    Workers share this process's stdout and stderr, and import what ``function`` needs, but not
    ``__main__``. They ignore SIGINT, as the KeyboardInterrupt here ends them. Where SIGTERM shall do the
    same, the program must turn it into an exception; if it just dies, by SIGTERM or SIGKILL, its workers
    notice and end within about a second.
    """
    held = workers > 0 and at_first_here is not None
    tuner = Tuner(max(workers, 1), max(USUAL, len(os.sched_getaffinity(0))), held=held, restraint=restraint)

    def note(progress: Progress) -> None:
        tuner.note(progress)
        on_progress(progress)

    crew: _Crew
    if workers == 0:
        crew = _Here(function, note)
    elif at_first_here is None:
        crew = _processes(function, note)
    else:
        crew = _AtFirstHere(function, note, tuner, at_first_here)
    core = Core(
        [task.hosts if lanes else () for task in tasks],
        hosts=lanes or [HERE],
        workers=1 if held else tuner.first,
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


class _Over(BaseException):
    """The work is not wanted any more. No error: nothing on the way of a task may take it for one."""


class _AtFirstHere:
    """One worker that is a thread of this process; beside it, when its time alone is over, processes."""

    def __init__(
        self,
        function: Callable[[Any, ProgressSink], object],
        on_progress: ProgressSink,
        tuner: Tuner,
        asked: AtFirstHere,
    ) -> None:
        self._function = function
        self._on_progress = on_progress
        self._tuner = tuner
        self._asked = asked
        self._until = math.inf
        self._worker = 0
        self._thread: threading.Thread | None = None
        self._said: SimpleQueue[Event | Progress] = SimpleQueue()
        self._is_over = False
        self._processes: _Crew | None = None

    def start(self, worker: int, host: str) -> None:
        if self._tuner.held:
            self._worker = worker
            self._said.put(WorkerReady(worker))
            return
        if self._processes is None:
            # Not before one is needed: a unit that is the last has no use for them.
            self._asked.prepare()
            self._processes = _processes(self._function, self._on_progress)
        self._processes.start(worker, host)

    def assign(self, worker: int, task: object) -> None:
        if worker == self._worker:
            # The time in which nothing may be begun does not count.
            if self._tuner.held:
                self._until = min(self._until, time.monotonic() + self._asked.seconds)
            # A daemon: what hangs in a file system must not keep the program from ending.
            self._thread = threading.Thread(target=self._work, args=(task,), name="worker", daemon=True)
            self._thread.start()
        elif self._processes is not None:
            self._processes.assign(worker, task)

    def stop(self, worker: int) -> None:
        if worker != self._worker and self._processes is not None:
            self._processes.stop(worker)

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        if self._processes is not None:
            own = self._own_events(0.0)
            return [*own, *self._processes.events(0.0 if own else min(timeout_seconds, _LOOK_SECONDS))]
        alone_seconds = self._until - time.monotonic()
        if alone_seconds > 0:
            return self._own_events(min(timeout_seconds, alone_seconds))
        self._until = math.inf
        self._tuner.held = False
        return [WorkersWanted(HERE, self._tuner.first)]

    def close(self) -> None:
        self._is_over = True
        if self._processes is not None:
            self._processes.close()
        if self._thread is not None:
            self._thread.join(_LEAVE_SECONDS)

    def _own_events(self, timeout_seconds: float) -> list[Event]:
        """What the thread says next; waits for that up to so long."""
        try:
            said = self._said.get(timeout=max(0.0, timeout_seconds))
        except Empty:
            return []
        if not isinstance(said, Progress):
            return [said]
        self._on_progress(said)
        return []

    def _work(self, task: object) -> None:
        due = 0.0

        def progress(told: Progress) -> None:
            nonlocal due
            if self._is_over:
                raise _Over
            now = time.monotonic()
            if told.done or now >= due:
                due = now + child.PROGRESS_SECONDS
                self._said.put(told)

        with suppress(_Over):
            self._said.put(event_of(self._worker, child.attempt(partial(self._function, task, progress))))


class _Crew(Crew, Protocol):
    def close(self) -> None:
        """End what there is of it."""


def _processes(function: Callable[[Any, ProgressSink], object], on_progress: ProgressSink) -> _Crew:
    from .pool import Processes  # which a night with little to do does without

    return Processes(function, on_progress)
