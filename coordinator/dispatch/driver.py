"""What every engine does with the core's instructions: carries them out through a crew of workers.

Owns time: how long a task rests before it is tried again, how long a host is waited for, how often the
door is looked at. What workers are and how one speaks to them is the crew's business.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast

from ...proto.errors import BackupError, HostError, HostLostError
from ...proto.structs import Record
from ..core import (
    Assign,
    Core,
    DoorOpened,
    DoorShut,
    Event,
    Finish,
    HostBack,
    HostGivenUp,
    HostLost,
    Instruction,
    Rest,
    Start,
    Stop,
    TaskDone,
    TaskFailed,
    TaskRested,
    WorkerReady,
)
from . import child
from .engine import Outcome, ReportT, TaskT
from .tuning import Tuner

ATTEMPTS = 3
"""How often a task is tried whose error is retryable, or whose worker is lost."""

TURN_SECONDS = 1.0
"""How long nothing may happen before time and door are looked at again."""

Admission = Callable[[], bool]
"""Whether tasks may be begun now; asked about once a second."""


HostSink = Callable[[str, BackupError | None], object]
"""Told of a host that is lost, with the reason, and of one that is back, with None. Must be quick, and must
not raise."""


def always() -> bool:
    """The door of a dispatch that runs at any time."""
    return True


def ignore_hosts(_host: str, _error: BackupError | None) -> None:
    """Nobody wants to know which hosts come and go."""


class Pace(Record, kw_only=True):
    """How long to wait for what.

    ``retry_seconds``: before the second attempt at a task, before the third ..., the last for all further
    ones. ``lease_seconds``: after its host was lost, because the worker may still be running there.
    ``host_patience_seconds``: for a host that was lost, before what only it can do fails; it does not run out
    while the door is shut.
    """

    retry_seconds: tuple[float, ...] = (1.0, 5.0)
    lease_seconds: float = 0.0
    host_patience_seconds: float = 600.0

    def rest_seconds(self, attempt: int, error: BackupError) -> float:
        """How long a task rests after this attempt failed with this error."""
        pause = self.retry_seconds[min(attempt, len(self.retry_seconds)) - 1]
        return max(pause, self.lease_seconds) if isinstance(error, HostLostError) else pause


STEADY = Pace()
"""What is used unless somebody knows better."""


class Crew(Protocol):
    """Workers, by the numbers that the core gave them. No method raises because of a worker."""

    def start(self, worker: int, host: str) -> None: ...

    def assign(self, worker: int, task: object) -> None: ...

    def stop(self, worker: int) -> None: ...

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """What happened since; waits up to so long for something to happen, and may be empty."""


def dispatch(
    tasks: Sequence[TaskT],
    core: Core,
    crew: Crew,
    *,
    pace: Pace,
    admit: Admission,
    tuner: Tuner,
    opening: Sequence[Event] = (),
    on_host: HostSink = ignore_hosts,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Outcome[TaskT, ReportT]]:
    """The outcomes of tasks that a fresh core knows, as they end. ``opening`` is what is known before the
    work begins: hosts that are not there. ``tuner`` says how many workers each host has."""
    clock = _Timetable(pace, admit, lambda: tuner.wanted(core), monotonic)
    events: Sequence[Event] = [*opening, *clock.due()]
    while True:
        instructions = [told for event in events for told in core.step(event)]
        failed = [event for told in instructions for event in _carry_out(told, tasks, crew, clock, tuner)]
        for told in instructions:
            if isinstance(told, Finish):
                yield _outcome(tasks, told)
        if core.finished:
            return
        # What could not be sent has failed at once: nothing is waited for then.
        happened = crew.events(0.0 if failed else clock.spare_seconds())
        for event in happened:
            clock.note(event)
            match event:
                case HostLost(host, error):
                    on_host(host, error)
                case HostBack(host):
                    on_host(host, None)
        events = [*failed, *happened, *clock.due()]


def event_of(worker: int, answer: child.Answer) -> Event:
    """What it means that a worker has said this."""
    match answer:
        case child.Done(report):
            return TaskDone(worker, report)
        case child.Failed(error):
            return TaskFailed(worker, error)
        case child.Ready():
            return WorkerReady(worker)


def _carry_out(
    told: Instruction, tasks: Sequence[TaskT], crew: Crew, clock: _Timetable, tuner: Tuner
) -> list[Event]:
    match told:
        case Start(worker, host):
            crew.start(worker, host)
        case Assign(worker, host, task, attempt):
            tuner.assigned(tasks[task].label, host)
            try:
                crew.assign(worker, tasks[task].attempted(host, attempt))
            except BackupError as error:
                return [TaskFailed(worker, error)]
            except Exception as error:
                return [TaskFailed(worker, child.unexpected(error))]
        case Stop(worker):
            crew.stop(worker)
        case Rest(task, attempt, error):
            clock.rest(task, attempt, error)
        case Finish():
            pass
    return []


def _outcome(tasks: Sequence[TaskT], ended: Finish) -> Outcome[TaskT, ReportT]:
    return Outcome(
        task=tasks[ended.task],
        attempts=ended.attempts,
        report=cast(ReportT | None, ended.report),
        error=ended.error,
    )


class _Timetable:
    """What the clock makes happen."""

    def __init__(
        self,
        pace: Pace,
        admit: Admission,
        tuned: Callable[[], list[Event]],
        monotonic: Callable[[], float],
    ) -> None:
        self._pace = pace
        self._now = monotonic
        self._admit = admit
        self._tuned = tuned
        self._open: bool | None = None
        self._next_look = 0.0
        self._resting: list[tuple[float, int]] = []
        self._away: dict[str, tuple[float, BackupError]] = {}

    def rest(self, task: int, attempt: int, error: BackupError) -> None:
        until = self._now() + self._pace.rest_seconds(attempt, error)
        heapq.heappush(self._resting, (until, task))

    def note(self, event: Event) -> None:
        """A host that is lost is waited for from now on, unless it is already."""
        match event:
            case HostLost(host, error):
                until = self._now() + self._pace.host_patience_seconds
                self._away.setdefault(host, (until, error))
            case HostBack(host):
                self._away.pop(host, None)

    def spare_seconds(self) -> float:
        """How long nothing is due."""
        now = self._now()
        first = min([self._next_look, *(until for until, _ in self._resting[:1])])
        return max(0.0, first - now)

    def due(self) -> list[Event]:
        now = self._now()
        events: list[Event] = []
        if now >= self._next_look:
            self._next_look = now + TURN_SECONDS
            if self._open != (opened := self._admit()):
                self._open = opened
                events.append(DoorOpened() if opened else DoorShut())
            events += self._tuned()
        while self._resting and self._resting[0][0] <= now:
            events.append(TaskRested(heapq.heappop(self._resting)[1]))
        if self._open:
            for host in [host for host, (until, _) in self._away.items() if until <= now]:
                _, error = self._away.pop(host)
                events.append(HostGivenUp(host, self._patience_over(host, error)))
        return events

    def _patience_over(self, host: str, error: BackupError) -> HostError:
        away = self._pace.host_patience_seconds
        return HostError(f"host {host} did not come back within {away:.0f} s: {error.message}", host=host)
