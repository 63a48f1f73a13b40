"""Who does what next: the state of a dispatch, apart from every engine that carries it out.

``Core.step`` takes one event and returns instructions; it starts nothing, waits for nothing and knows no
time, so that each incident can be told again as a list of events. Tasks are known by their place in the
order given, workers by numbers that are never used twice.

A worker is starting, then idle or busy with one task, until it is lost or was told to stop. A task waits,
is with one worker, and is finished once. A task that is tried again goes before all that come after it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from ..proto.errors import BackupError

# What happened


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker that was to start can take a task."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is gone, without having been told to stop."""

    worker: int
    error: BackupError


@dataclass(frozen=True, slots=True)
class TaskDone:
    """A worker returned the report of its task and can take another."""

    worker: int
    report: object


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A worker's task raised; the worker can take another."""

    worker: int
    error: BackupError


Event = WorkerReady | WorkerLost | TaskDone | TaskFailed


# What is to be done


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker under this number."""

    worker: int


@dataclass(frozen=True, slots=True)
class Assign:
    """Give a task to an idle worker."""

    worker: int
    task: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Let an idle worker go: there is nothing for it to do."""

    worker: int


@dataclass(frozen=True, slots=True)
class Finish:
    """A task has ended, after so many attempts: with a report, or else with the error of the last."""

    task: int
    attempts: int
    report: object = None
    error: BackupError | None = None


Instruction = Start | Assign | Stop | Finish


class Core:
    """The state of one dispatch of ``tasks`` tasks to at most ``workers`` workers.

    A task is tried up to ``attempts`` times where its errors are retryable; the loss of its worker is.
    Workers that are lost before they are ready are replaced too, until ``attempts`` of them were in a
    row; when no other is left then, all waiting tasks fail with the last of these losses.
    """

    def __init__(self, tasks: int, *, workers: int, attempts: int) -> None:
        if workers < 1 or attempts < 1:
            raise ValueError("a dispatch needs a worker and an attempt")
        self._waiting = list(range(tasks))  # a heap: sorted as it is
        self._unfinished = tasks
        self._tried: dict[int, int] = {}
        self._workers = workers
        self._attempts = attempts
        self._starting: set[int] = set()
        self._idle: set[int] = set()
        self._busy: dict[int, int] = {}
        self._started = 0
        self._stillborn = 0

    @property
    def finished(self) -> bool:
        """Whether every task was reported as finished."""
        return self._unfinished == 0

    def begin(self) -> list[Instruction]:
        """The first instructions; call it once."""
        return self._settle()

    def step(self, event: Event) -> list[Instruction]:
        """Take an event in. Finished tasks come last, so that workers need not wait for their recording.

        An event that can't be (a worker that was given up, a report without a task) changes nothing: a
        worker that was cut off may report late.
        """
        match event:
            case WorkerReady(worker) if worker in self._starting:
                self._starting.remove(worker)
                self._idle.add(worker)
                self._stillborn = 0
                ended = []
            case WorkerLost(worker, error):
                ended = self._lose(worker, error)
            case TaskDone(worker, report) if worker in self._busy:
                task = self._busy.pop(worker)
                self._idle.add(worker)
                ended = [self._finish(task, report=report)]
            case TaskFailed(worker, error) if worker in self._busy:
                task = self._busy.pop(worker)
                self._idle.add(worker)
                ended = self._retry(task, error, error.retryable)
            case _:
                return []
        return [*self._settle(), *ended]

    def _lose(self, worker: int, error: BackupError) -> list[Instruction]:
        ended: list[Instruction] = []
        if worker in self._busy:
            ended = self._retry(self._busy.pop(worker), error, True)
        elif worker in self._starting:
            self._starting.remove(worker)
            self._stillborn += 1
        self._idle.discard(worker)
        if self._stillborn < self._attempts or self._starting or self._idle or self._busy:
            return ended
        given_up, self._waiting = sorted(self._waiting), []
        return [*ended, *(self._finish(task, error=error) for task in given_up)]

    def _retry(self, task: int, error: BackupError, retryable: bool) -> list[Instruction]:
        if not retryable or self._tried[task] >= self._attempts:
            return [self._finish(task, error=error)]
        heapq.heappush(self._waiting, task)
        return []

    def _finish(self, task: int, *, report: object = None, error: BackupError | None = None) -> Finish:
        self._unfinished -= 1
        return Finish(task, self._tried.pop(task, 0), report, error)

    def _settle(self) -> list[Instruction]:
        """Give work to the idle, let those go that find none, start as many as the rest needs."""
        told: list[Instruction] = []
        while self._idle and self._waiting:
            worker, task = self._idle.pop(), heapq.heappop(self._waiting)
            self._tried[task] = self._tried.get(task, 0) + 1
            self._busy[worker] = task
            told.append(Assign(worker, task))
        while self._idle:
            told.append(Stop(self._idle.pop()))
        while self._may_start():
            self._started += 1
            self._starting.add(self._started)
            told.append(Start(self._started))
        return told

    def _may_start(self) -> bool:
        return (
            len(self._starting) < len(self._waiting)
            and len(self._starting) + len(self._busy) < self._workers
            and self._stillborn < self._attempts
        )
