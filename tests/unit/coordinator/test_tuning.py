"""The number of workers that is found on hosts of which it is known how fast they are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from mailhaul.coordinator.core import Assign, Core, DoorOpened, Event, Start, TaskDone, WorkerReady
from mailhaul.coordinator.dispatch.tuning import REST_SECONDS, TRIAL_SECONDS, Free, Tuner
from mailhaul.proto.records import Progress

Speed = Callable[[int], float]
"""MB a second of so many workers together."""

MEGA = 1_000_000
TASK_MB = 500


class Held(Free):
    """Holds all hosts back as the test says, and notes what it is told."""

    def __init__(self) -> None:
        self.now = 1.0
        self.told: list[tuple[str, int, int]] = []

    def level(self, _host: str) -> float:
        return self.now

    def occupied(self, host: str, count: int, busy: int) -> None:
        self.told.append((host, count, busy))


class Simulation:
    """One host whose workers share a speed, on a clock of its own."""

    def __init__(
        self, speed: Speed, *, first: int, most: int, task_mb: float = 500, noise: float = 0
    ) -> None:
        self.now = 0.0
        self.restraint = Held()
        self.tuner = Tuner(most, first, lambda: self.now, restraint=self.restraint)
        self.core = Core([()] * 5000, hosts=["h"], workers=self.tuner.first, attempts=1)
        self.speed = speed
        self.events: list[Event] = [DoorOpened()]
        self.noise, self.random = noise, Random(7)
        # By worker: its task, the MB of that, and those that are done.
        self.at_work: dict[int, tuple[int, float, float]] = {}

    def run(self, seconds: float) -> list[int]:
        """How many workers were busy, by the second."""
        told: list[int] = []
        events = self.events
        for _ in range(round(seconds)):
            events += self.tuner.wanted(self.core)
            while events:
                for one in self.core.step(events.pop(0)):
                    match one:
                        case Start(worker):
                            events.append(WorkerReady(worker))
                        case Assign(worker, host, task):
                            self.tuner.assigned(str(task), host)
                            self.at_work[worker] = task, TASK_MB * self.random.uniform(0.5, 1.5), 0.0
            told.append(len(self.at_work))
            self.now += 1
            share = self.speed(len(self.at_work)) / len(self.at_work)
            for worker, (task, whole, done) in list(self.at_work.items()):
                done += share * self.random.uniform(1 - self.noise, 1 + self.noise)
                self.at_work[worker] = task, whole, done
                self.tuner.note(Progress(str(task), 0, round(done * MEGA)))
                if done >= whole:
                    del self.at_work[worker]
                    events.append(TaskDone(worker, None))
        return told


def most_of(counts: list[int]) -> int:
    """What there was for most of the time."""
    return max(set(counts), key=counts.count)


@pytest.mark.parametrize(
    ("speed", "first", "most", "expected"),
    [
        (lambda n: 50 * min(n, 3), 1, 8, 3),  # three processors
        (lambda n: 50 * min(n, 3), 8, 8, 3),
        (lambda n: 50 * n, 2, 6, 6),  # as many as may be
        (lambda n: 80, 4, 16, 1),  # a limit, or a slow disk
        (lambda n: 100 - 10 * n, 4, 8, 1),  # a disk that loses by it
        (lambda n: 50 * n if n < 3 else 100 + 20 * (n - 2), 2, 4, 4),  # half as much is worth having
        (lambda n: 50 * n if n < 3 else 100 + 5 * (n - 2), 4, 4, 2),  # a tenth is not
    ],
)
def test_as_many_as_gain_anything(speed: Speed, first: int, most: int, expected: int) -> None:
    simulation = Simulation(speed, first=first, most=most)
    simulation.run(40 * TRIAL_SECONDS)
    assert most_of(simulation.run(REST_SECONDS)) == expected


def test_rates_that_waver_by_a_tenth_mislead_by_one_worker_at_most() -> None:
    simulation = Simulation(lambda n: 60 * min(n, 4), first=2, most=12, noise=0.1)
    simulation.run(40 * TRIAL_SECONDS)
    assert most_of(simulation.run(4 * REST_SECONDS)) in (3, 4, 5)


def test_a_host_that_becomes_faster_gets_more_of_them() -> None:
    fast = False
    simulation = Simulation(lambda n: 50 * min(n, 6 if fast else 2), first=2, most=8)
    simulation.run(30 * TRIAL_SECONDS)
    assert most_of(simulation.run(REST_SECONDS)) == 2
    fast = True
    simulation.run(2 * REST_SECONDS)
    assert most_of(simulation.run(REST_SECONDS)) == 6


def test_nothing_changes_within_a_short_night() -> None:
    assert set(Simulation(lambda n: 50, first=2, most=8).run(TRIAL_SECONDS)) == {2}


def test_tasks_that_do_not_tell_of_what_they_do_leave_it_at_the_first_number() -> None:
    simulation = Simulation(lambda n: 50, first=3, most=8)
    simulation.tuner.note = lambda progress: None  # type: ignore[method-assign]
    assert set(simulation.run(20 * TRIAL_SECONDS)) == {3}


def test_an_attempt_that_begins_anew_counts_for_nothing_until_it_is_as_far() -> None:
    now = 0.0
    tuner = Tuner(4, 1, lambda: now)
    core = Core([()] * 3, hosts=["h"], workers=1, attempts=1)
    core.step(DoorOpened())
    core.step(WorkerReady(1))
    tuner.assigned("a", "h")
    tuner.note(Progress("a", 0, 100 * MEGA))
    assert tuner.wanted(core) == []
    now += TRIAL_SECONDS
    tuner.note(Progress("a", 0, MEGA))
    assert tuner.wanted(core) == []  # as if nothing had been done


def test_a_host_that_is_held_back_has_fewer_workers_and_the_same_number_afterwards() -> None:
    simulation = Simulation(lambda n: 200 * min(n, 4), first=4, most=4)
    simulation.run(5)
    simulation.restraint.now = 0.3
    held = simulation.run(20)
    assert held[-1] == 2  # 1.2 of 4
    assert simulation.restraint.told[-1] == ("h", 4, 2)
    simulation.restraint.now = 0.05
    assert simulation.run(20)[-1] == 1
    simulation.restraint.now = 1.0
    assert max(simulation.run(8)) == 4


def test_nothing_is_concluded_from_what_was_done_while_held_back() -> None:
    simulation = Simulation(lambda n: 50 * min(n, 6), first=2, most=8)
    simulation.restraint.now = 0.99
    assert set(simulation.run(20 * TRIAL_SECONDS)) == {2}


def test_a_level_that_wavers_starts_no_worker_for_a_moment() -> None:
    simulation = Simulation(lambda n: 800 * n, first=4, most=4)
    simulation.restraint.now = 0.5
    simulation.run(10)
    counts = []
    for _ in range(20):
        for level in (0.49, 0.55):
            simulation.restraint.now = level
            counts += simulation.run(1)
    assert set(counts) == {2}


def test_a_thread_that_works_alone_is_told_of_too() -> None:
    restraint = Held()
    tuner = Tuner(4, 1, lambda: 0.0, held=True, restraint=restraint)
    core = Core([()] * 3, hosts=["h"], workers=1, attempts=1)
    restraint.now = 0.1
    assert tuner.wanted(core) == []
    assert restraint.told == [("h", 1, 0)]
