"""Pauses, patience and the door: the driver's time, told by a clock that stands still on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from mailhaul.coordinator.core import (
    Core,
    Event,
    HostBack,
    HostLost,
    TaskDone,
    TaskFailed,
    WorkerReady,
)
from mailhaul.coordinator.dispatch.driver import Admission, Pace, always, dispatch
from mailhaul.coordinator.dispatch.engine import Outcome
from mailhaul.coordinator.dispatch.tuning import Tuner
from mailhaul.proto.errors import BackupError, HostError, HostLostError, StagingError

FULL = StagingError("disk full")
CUT_OFF = HostLostError("the node is gone")


@dataclass(frozen=True)
class Told:
    """A task that knows its attempt."""

    name: str
    hosts: tuple[str, ...] = ()
    attempt: int = 0
    host: str = ""

    @property
    def label(self) -> str:
        return self.name

    def attempted(self, host: str, attempt: int) -> Told:
        if self.name == "unsigned":
            raise ValueError("no secret")
        return Told(self.name, self.hosts, attempt, host)


Answer = Callable[[int, Told], Event | None]


@dataclass
class Crew:
    """Workers that are ready at once, on a clock that moves only while somebody waits."""

    answer: Answer
    later: list[tuple[float, Event]] = field(default_factory=list)
    now: float = 100.0
    begun: list[tuple[float, str, str, int]] = field(default_factory=list)
    noticed: list[Event] = field(default_factory=list)

    def start(self, worker: int, host: str) -> None:
        self.noticed.append(WorkerReady(worker))

    def assign(self, worker: int, task: object) -> None:
        assert isinstance(task, Told)
        self.begun.append((self.now - 100, task.name, task.host, task.attempt))
        if event := self.answer(worker, task):
            self.noticed.append(event)

    def stop(self, worker: int) -> None:
        """Nothing to be seen."""

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        if not self.noticed:
            until = self.now + timeout_seconds
            self.now = min([until, *(100 + at for at, _ in self.later)])
            self.noticed = [event for at, event in self.later if 100 + at <= self.now]
            self.later = [(at, event) for at, event in self.later if 100 + at > self.now]
        noticed, self.noticed = self.noticed, []
        return noticed


def run(
    tasks: Sequence[Told], crew: Crew, *, pace: Pace, admit: Admission = always, workers: int = 1
) -> list[Outcome[Told, object]]:
    hosts = dict.fromkeys(host for task in tasks for host in task.hosts) or ["h"]
    core = Core([task.hosts for task in tasks], hosts=hosts, workers=workers, attempts=3)
    return list(
        dispatch(tasks, core, crew, pace=pace, admit=admit, tuner=Tuner(workers), monotonic=lambda: crew.now)
    )


def failing(error: BackupError, names: str = "", attempts: int = 9) -> Answer:
    """Tasks of these names fail so many times, all else is done."""

    def answer(worker: int, task: Told) -> Event:
        fails = task.name in names.split() and task.attempt <= attempts
        return TaskFailed(worker, error) if fails else TaskDone(worker, task.name.upper())

    return answer


def test_a_task_rests_before_it_is_tried_again_while_others_go_on() -> None:
    crew = Crew(failing(FULL, "a"))
    outcomes = run([Told("a"), Told("b"), Told("c")], crew, pace=Pace(retry_seconds=(1.0, 5.0)))
    assert [(outcome.task.name, outcome.report, outcome.error, outcome.attempts) for outcome in outcomes] == [
        ("b", "B", None, 1),
        ("c", "C", None, 1),
        ("a", None, FULL, 3),
    ]
    assert crew.begun == [
        (0, "a", "h", 1),
        (0, "b", "h", 1),
        (0, "c", "h", 1),
        (1, "a", "h", 2),
        (6, "a", "h", 3),
    ]


@pytest.mark.parametrize(
    ("error", "attempt", "seconds"), [(FULL, 1, 1), (FULL, 2, 5), (FULL, 7, 5), (CUT_OFF, 1, 30)]
)
def test_pauses(error: BackupError, attempt: int, seconds: float) -> None:
    assert Pace(retry_seconds=(1.0, 5.0), lease_seconds=30.0).rest_seconds(attempt, error) == seconds


def test_what_cannot_be_sent_fails_alone() -> None:
    outcomes = run([Told("unsigned"), Told("b")], Crew(failing(FULL)), pace=Pace())
    assert [(outcome.task.name, outcome.report, outcome.attempts) for outcome in outcomes] == [
        ("unsigned", None, 1),
        ("b", "B", 1),
    ]
    assert outcomes[0].failure().message == "ValueError: no secret"


def test_nothing_is_begun_while_the_door_is_shut() -> None:
    crew = Crew(failing(FULL, "a", attempts=1))

    def admit() -> bool:
        return not 0.5 < crew.now - 100 < 3.5

    outcomes = run([Told("a"), Told("b")], crew, pace=Pace(retry_seconds=(2.0,)), admit=admit)
    assert [outcome.report for outcome in outcomes] == ["B", "A"]
    assert crew.begun == [(0, "a", "h", 1), (0, "b", "h", 1), (4, "a", "h", 2)]
    crew = Crew(failing(FULL))
    run([Told("a")], crew, pace=Pace(), admit=lambda: crew.now >= 102)
    assert crew.begun == [(2, "a", "h", 1)]


def on_first_host(worker: int, task: Told) -> Event | None:
    """Whatever runs on host x never ends."""
    return None if task.host == "x" else TaskDone(worker, task.host)


def test_a_host_is_waited_for_so_long_and_its_shared_tasks_go_elsewhere_after_the_lease() -> None:
    crew = Crew(on_first_host, later=[(2.0, HostLost("x", CUT_OFF))])
    tasks = [Told("shared", ("x", "y")), Told("own", ("x",))]
    pace = Pace(lease_seconds=4.0, host_patience_seconds=20.0)
    outcomes = run(tasks, crew, pace=pace, workers=2)
    assert [(outcome.task.name, outcome.report, outcome.attempts) for outcome in outcomes] == [
        ("shared", "y", 2),
        ("own", None, 1),
    ]
    error = outcomes[1].failure()
    assert isinstance(error, HostError)
    assert error.message == "host x did not come back within 20 s: the node is gone"
    assert crew.begun[-1] == (6, "shared", "y", 2)
    assert 22 <= crew.now - 100 <= 23


def test_a_host_that_comes_back_in_time_goes_on() -> None:
    crew = Crew(
        lambda worker, task: None if task.attempt == 1 else TaskDone(worker, task.attempt),
        later=[(1.0, HostLost("x", CUT_OFF)), (15.0, HostBack("x"))],
    )
    outcomes = run([Told("own", ("x",))], crew, pace=Pace(host_patience_seconds=20.0))
    assert [(outcome.report, outcome.attempts) for outcome in outcomes] == [(2, 2)]
    assert crew.begun[-1] == (15, "own", "x", 2)


def test_patience_does_not_run_out_while_the_door_is_shut() -> None:
    crew = Crew(lambda worker, task: None, later=[(1.0, HostLost("x", CUT_OFF))])
    outcomes = run(
        [Told("own", ("x",))],
        crew,
        pace=Pace(host_patience_seconds=5.0),
        admit=lambda: not 2 <= crew.now - 100 < 50,
    )
    assert isinstance(outcomes[0].error, HostError)
    assert 50 <= crew.now - 100 <= 51
