"""The number of workers that is found on hosts of which it is known how fast they are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from mailhaul.coordinator.core import Assign, Core, DoorOpened, Event, Start, TaskDone, WorkerReady
from mailhaul.coordinator.dispatch.tuning import REST_SECONDS, TRIAL_SECONDS, Tuner
from mailhaul.proto.records import Progress

Speed = Callable[[int], float]
"""MB a second of so many workers together."""

MEGA = 1_000_000
TASK_MB = 500


class Simulation:
    """One host whose workers share a speed, on a clock of its own."""

    def __init__(
        self, speed: Speed, *, first: int, most: int, task_mb: float = 500, noise: float = 0
    ) -> None:
        self.now = 0.0
        self.tuner = Tuner(most, first, lambda: self.now)
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
