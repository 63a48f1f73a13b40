"""Dispatch told as lists of events: who gets what where, what is tried again, what ends when."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mailhaul.coordinator.core import (
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
    WorkerLost,
    WorkerReady,
    WorkersWanted,
)
from mailhaul.proto.errors import BackupError, HostError, HostLostError, StagingError, WorkerLostError

KILLED = WorkerLostError("killed")
CUT_OFF = HostLostError("cut off")
GIVEN_UP = HostError("not back")
FULL = StagingError("disk full")
WRONG = BackupError("wrong")


def on_one_host(tasks: int, *, workers: int, attempts: int) -> Core:
    return Core([()] * tasks, hosts=["h"], workers=workers, attempts=attempts)


def tell(core: Core, *events: Event) -> list[list[Instruction]]:
    """The instructions that each event gives."""
    return [core.step(event) for event in events]


class TestOneHost:
    def test_nothing_begins_before_the_door_opens(self) -> None:
        core = on_one_host(2, workers=2, attempts=3)
        assert tell(core, DoorShut(), DoorOpened(), DoorOpened()) == [[], [Start(1, "h"), Start(2, "h")], []]

    def test_tasks_are_handed_out_in_order_and_workers_let_go(self) -> None:
        core = on_one_host(3, workers=2, attempts=3)
        assert core.step(DoorOpened()) == [Start(1, "h"), Start(2, "h")]
        assert tell(
            core, WorkerReady(2), WorkerReady(1), TaskDone(1, "b"), TaskDone(2, "a"), TaskDone(1, "c")
        ) == [
            [Assign(2, "h", 0, 1)],
            [Assign(1, "h", 1, 1)],
            [Assign(1, "h", 2, 1), Finish(1, 1, "b")],
            [Stop(2), Finish(0, 1, "a")],
            [Stop(1), Finish(2, 1, "c")],
        ]
        assert core.finished

    def test_no_more_workers_than_tasks_and_none_for_nothing(self) -> None:
        assert on_one_host(2, workers=8, attempts=3).step(DoorOpened()) == [Start(1, "h"), Start(2, "h")]
        nothing = on_one_host(0, workers=8, attempts=3)
        assert (nothing.step(DoorOpened()), nothing.finished) == ([], True)

    def test_a_lost_worker_costs_one_attempt_and_is_replaced(self) -> None:
        core = on_one_host(2, workers=1, attempts=2)
        core.step(DoorOpened())
        assert tell(core, WorkerReady(1), WorkerLost(1, KILLED), WorkerReady(2), TaskRested(0)) == [
            [Assign(1, "h", 0, 1)],
            [Start(2, "h"), Rest(0, 1, KILLED)],
            [Assign(2, "h", 1, 1)],
            [],
        ]
        assert tell(core, TaskDone(2, "b"), WorkerLost(2, KILLED)) == [
            [Assign(2, "h", 0, 2), Finish(1, 1, "b")],
            [Finish(0, 2, None, KILLED)],
        ]
        assert core.finished

    def test_only_retryable_errors_are_tried_again(self) -> None:
        core = on_one_host(1, workers=1, attempts=3)
        core.step(DoorOpened())
        assert tell(core, WorkerReady(1), TaskFailed(1, FULL), TaskRested(0), WorkerReady(2)) == [
            [Assign(1, "h", 0, 1)],
            [Stop(1), Rest(0, 1, FULL)],
            [Start(2, "h")],
            [Assign(2, "h", 0, 2)],
        ]
        assert tell(core, TaskFailed(2, WRONG)) == [[Stop(2), Finish(0, 2, None, WRONG)]]

    def test_a_task_that_rests_holds_up_no_other_and_goes_first_after_it(self) -> None:
        core = on_one_host(3, workers=1, attempts=3)
        core.step(DoorOpened())
        assert tell(
            core, WorkerReady(1), TaskFailed(1, FULL), TaskRested(0), TaskDone(1, "b"), TaskFailed(1, FULL)
        ) == [
            [Assign(1, "h", 0, 1)],
            [Assign(1, "h", 1, 1), Rest(0, 1, FULL)],
            [],
            [Assign(1, "h", 0, 2), Finish(1, 1, "b")],
            [Assign(1, "h", 2, 1), Rest(0, 2, FULL)],
        ]

    def test_workers_that_never_start_are_given_up_with_all_that_waits(self) -> None:
        core = on_one_host(3, workers=2, attempts=3)
        core.step(DoorOpened())
        assert tell(
            core, WorkerLost(1, KILLED), WorkerLost(2, KILLED), WorkerLost(3, WRONG), WorkerLost(4, KILLED)
        ) == [
            [Start(3, "h")],
            [Start(4, "h")],
            [],
            [Finish(0, 0, None, KILLED), Finish(1, 0, None, KILLED), Finish(2, 0, None, KILLED)],
        ]
        assert core.finished

    def test_when_no_more_workers_start_the_last_one_goes_on_alone(self) -> None:
        core = on_one_host(3, workers=2, attempts=2)
        core.step(DoorOpened())
        assert tell(core, WorkerReady(1), WorkerLost(2, WRONG), WorkerLost(3, WRONG), TaskDone(1, "a")) == [
            [Assign(1, "h", 0, 1)],
            [Start(3, "h")],
            [],
            [Assign(1, "h", 1, 1), Finish(0, 1, "a")],
        ]
        # And when that one is lost too, nothing is left waiting for ever.
        assert tell(core, WorkerLost(1, KILLED)) == [[Finish(1, 1, None, KILLED), Finish(2, 0, None, KILLED)]]
        assert core.finished

    def test_a_task_that_rests_gets_a_worker_where_others_did_not_start(self) -> None:
        core = on_one_host(2, workers=2, attempts=2)
        core.step(DoorOpened())
        tell(core, WorkerReady(1), WorkerLost(2, WRONG), WorkerLost(3, WRONG), TaskDone(1, "a"))
        assert tell(core, TaskFailed(1, FULL), TaskRested(1)) == [
            [Stop(1), Rest(1, 1, FULL)],
            [Start(4, "h")],
        ]

    def test_events_that_come_late_change_nothing(self) -> None:
        core = on_one_host(1, workers=1, attempts=2)
        core.step(DoorOpened())
        tell(core, WorkerReady(1), WorkerLost(1, KILLED), TaskRested(0))
        late = (TaskDone(1, "a"), TaskFailed(1, WRONG), WorkerLost(1, KILLED), WorkerReady(1))
        assert tell(core, *late, TaskDone(7, "x"), TaskRested(0), HostLost("x", KILLED)) == [[]] * 7
        assert tell(core, WorkerReady(2), TaskDone(2, "a")) == [
            [Assign(2, "h", 0, 2)],
            [Stop(2), Finish(0, 2, "a")],
        ]

    def test_more_workers_start_at_once_and_those_that_are_too_many_end_with_their_task(self) -> None:
        core = on_one_host(5, workers=1, attempts=1)
        core.step(DoorOpened())
        assert tell(core, WorkerReady(1), WorkersWanted("h", 2), WorkerReady(2), WorkersWanted("h", 1)) == [
            [Assign(1, "h", 0, 1)],
            [Start(2, "h")],
            [Assign(2, "h", 1, 1)],
            [],
        ]
        assert tell(core, TaskDone(1, "a"), TaskDone(2, "b"), WorkerReady(3)) == [
            [Stop(1), Finish(0, 1, "a")],
            [Assign(2, "h", 2, 1), Finish(1, 1, "b")],
            [],
        ]


class TestDoor:
    def test_what_runs_goes_on_and_nothing_new_is_begun(self) -> None:
        core = on_one_host(3, workers=2, attempts=3)
        tell(core, DoorOpened(), WorkerReady(1))
        assert tell(core, DoorShut(), WorkerReady(2), TaskDone(1, "a"), DoorOpened()) == [
            [],
            [Stop(2)],
            [Stop(1), Finish(0, 1, "a")],
            [Start(3, "h"), Start(4, "h")],
        ]

    def test_a_task_that_has_rested_waits_for_the_door(self) -> None:
        core = on_one_host(1, workers=1, attempts=3)
        tell(core, DoorOpened(), WorkerReady(1), DoorShut())
        assert tell(core, TaskFailed(1, FULL), TaskRested(0), DoorOpened()) == [
            [Stop(1), Rest(0, 1, FULL)],
            [],
            [Start(2, "h")],
        ]


class TestPlaces:
    def test_each_task_on_its_host_in_order_and_so_many_at_a_time(self) -> None:
        core = Core([("b",), ("a",), ("b",), ("b",)], hosts=["a", "b"], workers=2, attempts=3)
        assert core.step(DoorOpened()) == [Start(1, "a"), Start(2, "b"), Start(3, "b")]
        assert tell(core, WorkerReady(3), WorkerReady(2), WorkerReady(1), TaskDone(2, None)) == [
            [Assign(3, "b", 0, 1)],
            [Assign(2, "b", 2, 1)],
            [Assign(1, "a", 1, 1)],
            [Assign(2, "b", 3, 1), Finish(2, 1)],
        ]

    def test_a_shared_task_goes_to_the_first_host_that_has_room(self) -> None:
        core = Core([("a", "b")] * 3, hosts=["a", "b"], workers=2, attempts=3)
        assert core.step(DoorOpened()) == [Start(1, "a"), Start(2, "a"), Start(3, "b")]

    def test_a_task_for_any_host_starts_one_worker(self) -> None:
        core = Core([()], hosts=["a", "b", "c"], workers=4, attempts=3)
        assert core.step(DoorOpened()) == [Start(1, "a")]

    def test_a_worker_takes_what_comes_first_and_another_host_the_rest(self) -> None:
        core = Core([("a",), ("a", "b")], hosts=["a", "b"], workers=1, attempts=3)
        tell(core, DoorOpened(), WorkerReady(1), WorkerReady(2))
        assert tell(core, TaskFailed(1, FULL), TaskFailed(2, FULL), TaskRested(1), TaskRested(0)) == [
            [Stop(1), Rest(0, 1, FULL)],
            [Stop(2), Rest(1, 1, FULL)],
            [Start(3, "a")],
            [],
        ]
        # The worker of a was started for the shared task; it takes the other, and b gets a worker.
        assert tell(core, WorkerReady(3), WorkerReady(4)) == [
            [Assign(3, "a", 0, 2), Start(4, "b")],
            [Assign(4, "b", 1, 2)],
        ]

    def test_what_is_wrong_with_one_host_is_nothing_to_the_others(self) -> None:
        core = Core([("a",), ("b",), ("a", "b")], hosts=["a", "b"], workers=1, attempts=2)
        assert core.step(DoorOpened()) == [Start(1, "a"), Start(2, "b")]
        assert tell(core, WorkerLost(1, WRONG), WorkerLost(3, WRONG), WorkerReady(2)) == [
            [Start(3, "a")],
            [Finish(0, 0, None, WRONG)],
            [Assign(2, "b", 1, 1)],
        ]
        assert tell(core, TaskDone(2, "x")) == [[Assign(2, "b", 2, 1), Finish(1, 1, "x")]]

    def test_an_unknown_host_or_none_is_a_mistake_of_the_caller(self) -> None:
        with pytest.raises(KeyError):
            Core([("a",)], hosts=["b"], workers=1, attempts=1)
        with pytest.raises(ValueError, match="host"):
            Core([()], hosts=[], workers=1, attempts=1)


class TestLostHosts:
    def test_tasks_wait_for_their_host(self) -> None:
        core = Core([("a",), ("a",)], hosts=["a"], workers=1, attempts=3)
        tell(core, DoorOpened(), WorkerReady(1))
        assert tell(core, HostLost("a", CUT_OFF), TaskRested(0), TaskDone(1, "late"), HostBack("a")) == [
            [Rest(0, 1, CUT_OFF)],
            [],
            [],
            [Start(2, "a")],
        ]
        assert tell(core, WorkerReady(2)) == [[Assign(2, "a", 0, 2)]]

    def test_shared_tasks_go_to_another_host(self) -> None:
        core = Core([("a", "b"), ("b",)], hosts=["a", "b"], workers=1, attempts=3)
        tell(core, DoorOpened(), WorkerReady(1), WorkerReady(2))
        assert tell(core, HostLost("a", CUT_OFF), TaskRested(0), TaskDone(2, "x")) == [
            [Rest(0, 1, CUT_OFF)],
            [],
            [Assign(2, "b", 0, 2), Finish(1, 1, "x")],
        ]

    def test_another_host_starts_what_the_lost_one_was_starting(self) -> None:
        core = Core([("a", "b")], hosts=["a", "b"], workers=1, attempts=3)
        assert tell(core, DoorOpened(), HostLost("a", CUT_OFF), WorkerReady(2)) == [
            [Start(1, "a")],
            [Start(2, "b")],
            [Assign(2, "b", 0, 1)],
        ]

    def test_the_loss_counts_as_an_attempt(self) -> None:
        core = Core([("a",)], hosts=["a"], workers=1, attempts=1)
        tell(core, DoorOpened(), WorkerReady(1))
        assert core.step(HostLost("a", CUT_OFF)) == [Finish(0, 1, None, CUT_OFF)]

    def test_what_has_no_other_host_fails_alone_when_it_is_given_up(self) -> None:
        core = Core([("a",), ("a", "b"), ("a",), ("b",)], hosts=["a", "b"], workers=1, attempts=3)
        tell(core, DoorOpened(), WorkerReady(1))
        assert tell(core, HostLost("a", CUT_OFF), HostGivenUp("a", GIVEN_UP), TaskRested(0)) == [
            [Rest(0, 1, CUT_OFF)],
            [Finish(0, 1, None, GIVEN_UP), Finish(2, 0, None, GIVEN_UP)],
            [],
        ]
        assert tell(core, WorkerReady(2), TaskDone(2, "x"), TaskDone(2, "y")) == [
            [Assign(2, "b", 1, 1)],
            [Assign(2, "b", 3, 1), Finish(1, 1, "x")],
            [Stop(2), Finish(3, 1, "y")],
        ]
        assert core.finished

    def test_a_host_that_was_never_there(self) -> None:
        core = Core([("a",), ("b",)], hosts=["a", "b"], workers=1, attempts=3)
        assert tell(core, HostGivenUp("a", GIVEN_UP), DoorOpened()) == [
            [Finish(0, 0, None, GIVEN_UP)],
            [Start(1, "b")],
        ]

    def test_a_shared_task_fails_when_its_last_host_is_given_up(self) -> None:
        core = Core([("a", "b")], hosts=["a", "b"], workers=1, attempts=3)
        tell(core, HostGivenUp("b", GIVEN_UP), DoorOpened(), WorkerReady(1))
        assert core.step(HostGivenUp("a", GIVEN_UP)) == [Finish(0, 1, None, GIVEN_UP)]

    def test_a_host_that_comes_back_after_all_takes_what_is_left(self) -> None:
        core = Core([("a", "b"), ("b",)], hosts=["a", "b"], workers=1, attempts=3)
        tell(core, HostLost("a", CUT_OFF), HostGivenUp("a", GIVEN_UP), DoorOpened(), WorkerReady(1))
        assert tell(core, HostBack("a"), TaskDone(1, "x")) == [[], [Assign(1, "b", 1, 1), Finish(0, 1, "x")]]
        core = Core([("a", "b"), ("a", "b")], hosts=["a", "b"], workers=1, attempts=3)
        tell(core, HostGivenUp("a", GIVEN_UP), DoorOpened())
        assert core.step(HostBack("a")) == [Start(2, "a")]


HOSTS = ("a", "b", "c")


class Exploration(RuleBasedStateMachine):
    """Any order of events, beside a plain account of who must be where."""

    @initialize(
        tasks=st.lists(st.lists(st.sampled_from(HOSTS), max_size=3, unique=True).map(tuple), max_size=7),
        workers=st.integers(1, 3),
        attempts=st.integers(1, 3),
    )
    def begin(self, tasks: list[tuple[str, ...]], workers: int, attempts: int) -> None:
        self.hosts = [hosts or HOSTS for hosts in tasks]
        self.most, self.attempts = dict.fromkeys(HOSTS, workers), attempts
        self.core = Core(tasks, hosts=HOSTS, workers=workers, attempts=attempts)
        self.open = False
        self.undecided: set[int] = set()
        self.unusable: set[str] = set()
        self.starting: dict[int, str] = {}
        self.free: dict[int, str] = {}
        self.busy: dict[int, tuple[str, int]] = {}
        self.resting: set[int] = set()
        self.known: set[int] = set()
        self.tried = dict.fromkeys(range(len(tasks)), 0)
        self.ended: dict[int, Finish] = {}

    def tell(self, event: Event, *about: int) -> list[Instruction]:
        """Step with an event on these tasks: what becomes of them is told after what others get."""
        self.undecided = set(about)
        told = self.core.step(event)
        for instruction in told:
            self.obey(instruction)
        assert not self.free
        return told

    def obey(self, instruction: Instruction) -> None:
        match instruction:
            case Start(worker, host):
                assert worker not in self.known
                assert self.open
                assert host not in self.unusable
                assert self.workers_of(host) < self.most[host]
                self.known.add(worker)
                self.starting[worker] = host
            case Assign(worker, host, task, attempt):
                assert self.open
                assert self.free.pop(worker) == host
                assert host in self.hosts[task]
                assert task not in self.ended
                assert task not in self.live() | self.resting
                assert [at for at, _ in self.busy.values()].count(host) < self.most[host]
                self.tried[task] += 1
                assert attempt == self.tried[task] <= self.attempts
                assert not [one for one in self.waiting() if one < task and host in self.hosts[one]]
                self.busy[worker] = host, task
            case Stop(worker):
                del self.free[worker]
            case Rest(task, attempt):
                assert task not in self.live() | self.resting
                assert attempt == self.tried[task] < self.attempts
                self.resting.add(task)
            case Finish(task, attempts):
                assert task not in self.ended
                assert task not in self.live()
                assert attempts == self.tried[task]
                self.resting.discard(task)
                self.ended[task] = instruction

    def workers_of(self, host: str) -> int:
        return [*self.starting.values(), *(at for at, _ in self.busy.values())].count(host)

    def live(self) -> set[int]:
        return {task for _, task in self.busy.values()}

    def waiting(self) -> set[int]:
        return set(self.tried) - self.live() - self.resting - set(self.ended) - self.undecided

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.starting)))
        self.free[worker] = self.starting.pop(worker)
        self.tell(WorkerReady(worker))

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), error=st.sampled_from((None, FULL, WRONG)))
    def answer(self, data: st.DataObject, error: BackupError | None) -> None:
        worker = data.draw(st.sampled_from(sorted(self.busy)))
        self.free[worker], task = self.busy.pop(worker)
        tried = self.tried[task]
        self.tell(TaskFailed(worker, error) if error else TaskDone(worker, task), task)
        if error is None or not error.retryable or tried == self.attempts:
            assert self.ended[task] == Finish(task, tried, None if error else task, error)
        else:
            assert task in self.resting

    @precondition(lambda self: self.starting or self.busy)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted({*self.starting, *self.busy})))
        self.starting.pop(worker, None)
        _, *about = self.busy.pop(worker, ("",))
        self.tell(WorkerLost(worker, KILLED), *about)

    @precondition(lambda self: self.resting)
    @rule(data=st.data())
    def rested(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.resting)))
        self.resting.remove(task)
        self.tell(TaskRested(task))

    @rule(host=st.sampled_from(HOSTS), give_up=st.booleans())
    def lose_host(self, host: str, give_up: bool) -> None:
        self.unusable.add(host)
        for worker in [worker for worker, at in self.starting.items() if at == host]:
            del self.starting[worker]
        lost = [worker for worker, (at, _) in self.busy.items() if at == host]
        tasks = {self.busy.pop(worker)[1] for worker in lost}
        told = self.tell(HostGivenUp(host, GIVEN_UP) if give_up else HostLost(host, CUT_OFF), *tasks)
        assert tasks <= {one.task for one in told if isinstance(one, Rest | Finish)}

    @rule(host=st.sampled_from(HOSTS))
    def bring_back(self, host: str) -> None:
        self.unusable.discard(host)
        self.tell(HostBack(host))

    @rule(opened=st.booleans())
    def turn(self, opened: bool) -> None:
        self.open = opened
        self.tell(DoorOpened() if opened else DoorShut())

    @rule(host=st.sampled_from(HOSTS), workers=st.integers(1, 4))
    def want(self, host: str, workers: int) -> None:
        self.most[host] = workers
        self.tell(WorkersWanted(host, workers))

    @rule(data=st.data(), worker=st.integers(0, 12), task=st.integers(0, 6))
    def nonsense(self, data: st.DataObject, worker: int, task: int) -> None:
        events: list[Event] = [HostLost("nobody", KILLED), HostBack("nobody"), HostGivenUp("nobody", KILLED)]
        events.append(WorkersWanted("nobody", 2))
        if worker not in self.starting and worker not in self.busy:
            events += [WorkerReady(worker), WorkerLost(worker, KILLED), TaskDone(worker, 0)]
            events.append(TaskFailed(worker, FULL))
        if worker in self.starting:
            events += [TaskDone(worker, 0), TaskFailed(worker, FULL)]
        if worker in self.busy:
            events.append(WorkerReady(worker))
        if task in self.tried and task not in self.resting:
            events.append(TaskRested(task))
        assert self.core.step(data.draw(st.sampled_from(events))) == []

    @invariant()
    def bounded(self) -> None:
        if not hasattr(self, "core"):
            return
        for occupancy in self.core.occupancy():
            busy = [at for at, _ in self.busy.values()].count(occupancy.host)
            assert (occupancy.most, occupancy.busy) == (self.most[occupancy.host], busy)
            assert occupancy.waits == any(occupancy.host in self.hosts[task] for task in self.waiting())
        assert self.core.finished == (len(self.ended) == len(self.tried))
        if self.open and not self.starting and not self.busy:  # then what waits, waits for a host
            assert all(self.unusable.intersection(self.hosts[task]) for task in self.waiting())

    def teardown(self) -> None:
        """However it went, with the door open and every host there all comes to its end."""
        if not hasattr(self, "core"):
            return
        for host in HOSTS:
            self.bring_back(host)
        self.turn(True)
        for _ in range(100):
            for task in sorted(self.resting):
                self.resting.discard(task)
                self.tell(TaskRested(task))
            for worker in sorted(self.starting):
                self.free[worker] = self.starting.pop(worker)
                self.tell(WorkerReady(worker))
            for worker, (host, task) in sorted(self.busy.items()):
                del self.busy[worker]
                self.free[worker] = host
                self.tell(TaskDone(worker, task), task)
        assert (self.core.finished, self.starting, self.busy) == (True, {}, {})


TestExploration = Exploration.TestCase


def run_through(core: Core, instructions: Sequence[Instruction]) -> int:
    """Answer every instruction at once; returns how many events that took."""
    waiting, steps = list(instructions), 0
    while waiting:
        told = waiting.pop()
        event: Event | None = None
        if isinstance(told, Start):
            event = WorkerReady(told.worker)
        elif isinstance(told, Assign):
            event = TaskDone(told.worker, None)
        if event is not None:
            waiting += core.step(event)
            steps += 1
    return steps


def test_a_thousand_hosts_with_ten_thousand_tasks() -> None:
    hosts = [f"h{number}" for number in range(1000)]
    own = [(hosts[number % 1000],) for number in range(6000)]
    shared = [(hosts[number % 1000], hosts[(number + 1) % 1000]) for number in range(3000)]
    core = Core([*own, *shared, *[()] * 1000], hosts=hosts, workers=4, attempts=3)
    begun = time.process_time()
    steps = run_through(core, core.step(DoorOpened()))
    assert core.finished
    assert steps >= 10_000
    assert (time.process_time() - begun) / steps < 0.001
