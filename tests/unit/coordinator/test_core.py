"""Dispatch told as lists of events: who gets what, what is tried again, what ends when."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mailhaul.coordinator.core import (
    Assign,
    Core,
    Event,
    Finish,
    Instruction,
    Start,
    Stop,
    TaskDone,
    TaskFailed,
    WorkerLost,
    WorkerReady,
)
from mailhaul.proto.errors import BackupError, StagingError, WorkerLostError

KILLED = WorkerLostError("killed")
FULL = StagingError("disk full")
WRONG = BackupError("wrong")


def tell(core: Core, *events: Event) -> list[list[Instruction]]:
    """The instructions that each event gives."""
    return [core.step(event) for event in events]


def test_tasks_are_handed_out_in_order_and_workers_let_go() -> None:
    core = Core(3, workers=2, attempts=3)
    assert core.begin() == [Start(1), Start(2)]
    assert tell(
        core, WorkerReady(2), WorkerReady(1), TaskDone(1, "b"), TaskDone(2, "a"), TaskDone(1, "c")
    ) == [
        [Assign(2, 0)],
        [Assign(1, 1)],
        [Assign(1, 2), Finish(1, 1, "b")],
        [Stop(2), Finish(0, 1, "a")],
        [Stop(1), Finish(2, 1, "c")],
    ]
    assert core.finished


def test_no_more_workers_than_tasks_and_none_for_nothing() -> None:
    assert Core(2, workers=8, attempts=3).begin() == [Start(1), Start(2)]
    nothing = Core(0, workers=8, attempts=3)
    assert (nothing.begin(), nothing.finished) == ([], True)


def test_a_lost_worker_costs_one_attempt_and_is_replaced() -> None:
    core = Core(2, workers=1, attempts=2)
    core.begin()
    assert tell(core, WorkerReady(1), WorkerLost(1, KILLED), WorkerReady(2)) == [
        [Assign(1, 0)],
        [Start(2)],
        [Assign(2, 0)],
    ]
    assert tell(core, WorkerLost(2, KILLED), WorkerReady(3), TaskDone(3, "b")) == [
        [Start(3), Finish(0, 2, None, KILLED)],
        [Assign(3, 1)],
        [Stop(3), Finish(1, 1, "b")],
    ]


def test_only_retryable_errors_are_tried_again_and_by_the_same_worker() -> None:
    core = Core(2, workers=1, attempts=3)
    core.begin()
    assert tell(
        core,
        WorkerReady(1),
        TaskFailed(1, FULL),
        TaskFailed(1, FULL),
        TaskFailed(1, FULL),
        TaskFailed(1, WRONG),
    ) == [
        [Assign(1, 0)],
        [Assign(1, 0)],
        [Assign(1, 0)],
        [Assign(1, 1), Finish(0, 3, None, FULL)],
        [Stop(1), Finish(1, 1, None, WRONG)],
    ]


def test_a_task_left_by_a_lost_worker_starts_one_even_when_the_others_were_let_go() -> None:
    core = Core(2, workers=2, attempts=2)
    core.begin()
    assert tell(
        core, WorkerReady(1), WorkerReady(2), TaskDone(2, "b"), WorkerLost(1, KILLED), WorkerReady(3)
    ) == [[Assign(1, 0)], [Assign(2, 1)], [Stop(2), Finish(1, 1, "b")], [Start(3)], [Assign(3, 0)]]


def test_workers_that_never_start_are_given_up_with_all_that_waits() -> None:
    core = Core(3, workers=2, attempts=3)
    core.begin()
    assert tell(
        core, WorkerLost(1, KILLED), WorkerLost(2, KILLED), WorkerLost(3, WRONG), WorkerLost(4, KILLED)
    ) == [
        [Start(3)],
        [Start(4)],
        [],
        [Finish(0, 0, None, KILLED), Finish(1, 0, None, KILLED), Finish(2, 0, None, KILLED)],
    ]
    assert core.finished


def test_when_no_more_workers_start_the_last_one_goes_on_alone() -> None:
    core = Core(3, workers=2, attempts=2)
    core.begin()
    assert tell(core, WorkerReady(1), WorkerLost(2, WRONG), WorkerLost(3, WRONG), TaskDone(1, "a")) == [
        [Assign(1, 0)],
        [Start(3)],
        [],
        [Assign(1, 1), Finish(0, 1, "a")],
    ]
    # And when that one is lost too, nothing is left waiting for ever.
    assert tell(core, WorkerLost(1, KILLED)) == [[Finish(1, 1, None, KILLED), Finish(2, 0, None, KILLED)]]
    assert core.finished


def test_events_that_come_late_change_nothing() -> None:
    core = Core(1, workers=1, attempts=2)
    core.begin()
    tell(core, WorkerReady(1), WorkerLost(1, KILLED))
    late = (TaskDone(1, "a"), TaskFailed(1, WRONG), WorkerLost(1, KILLED), WorkerReady(1), TaskDone(7, "x"))
    assert tell(core, *late) == [[]] * 5
    assert tell(core, WorkerReady(2), TaskDone(2, "a")) == [[Assign(2, 0)], [Stop(2), Finish(0, 2, "a")]]


class Exploration(RuleBasedStateMachine):
    """Any order of events, beside a plain account of who must be where."""

    @initialize(tasks=st.integers(0, 6), workers=st.integers(1, 4), attempts=st.integers(1, 3))
    def begin(self, tasks: int, workers: int, attempts: int) -> None:
        self.tasks, self.workers, self.attempts = tasks, workers, attempts
        self.core = Core(tasks, workers=workers, attempts=attempts)
        self.starting: set[int] = set()
        self.free: set[int] = set()
        self.busy: dict[int, int] = {}
        self.known: set[int] = set()
        self.tried = dict.fromkeys(range(tasks), 0)
        self.ended: dict[int, Finish] = {}
        self.obey(self.core.begin())

    def obey(self, told: list[Instruction]) -> None:
        for instruction in told:
            match instruction:
                case Start(worker):
                    assert worker not in self.known
                    self.known.add(worker)
                    self.starting.add(worker)
                case Assign(worker, task):
                    self.free.remove(worker)
                    assert task not in self.ended
                    assert task not in self.busy.values()
                    untried = [each for each, count in self.tried.items() if not count and each < task]
                    assert not [each for each in untried if each not in self.ended]
                    self.tried[task] += 1
                    self.busy[worker] = task
                case Stop(worker):
                    self.free.remove(worker)
                case Finish(task, attempts):
                    assert task not in self.ended
                    assert task not in self.busy.values()
                    assert attempts == self.tried[task] <= self.attempts
                    self.ended[task] = instruction
        assert not self.free

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.starting)))
        self.starting.remove(worker)
        self.free.add(worker)
        self.obey(self.core.step(WorkerReady(worker)))

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), error=st.sampled_from((None, FULL, WRONG)))
    def answer(self, data: st.DataObject, error: BackupError | None) -> None:
        worker = data.draw(st.sampled_from(sorted(self.busy)))
        task = self.busy.pop(worker)
        self.free.add(worker)
        tried = self.tried[task]
        self.obey(self.core.step(TaskFailed(worker, error) if error else TaskDone(worker, task)))
        again = error is not None and error.retryable and tried < self.attempts
        assert again or self.ended[task] == Finish(task, tried, None if error else task, error)

    @precondition(lambda self: self.starting or self.busy)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.starting | set(self.busy))))
        self.starting.discard(worker)
        self.busy.pop(worker, None)
        self.obey(self.core.step(WorkerLost(worker, KILLED)))

    @rule(data=st.data(), worker=st.integers(0, 12))
    def nonsense(self, data: st.DataObject, worker: int) -> None:
        if worker not in self.starting and worker not in self.busy:
            events: tuple[Event, ...] = (
                WorkerReady(worker),
                WorkerLost(worker, KILLED),
                TaskDone(worker, 0),
                TaskFailed(worker, FULL),
            )
            assert self.core.step(data.draw(st.sampled_from(events))) == []

    @invariant()
    def bounded_and_never_stuck(self) -> None:
        if not hasattr(self, "core"):
            return
        assert len(self.starting) + len(self.busy) <= min(self.workers, self.tasks)
        assert self.core.finished == (len(self.ended) == self.tasks)
        assert self.core.finished or self.starting or self.busy

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        for _ in range(100):
            for worker in sorted(self.starting):
                self.starting.remove(worker)
                self.free.add(worker)
                self.obey(self.core.step(WorkerReady(worker)))
            for worker, task in sorted(self.busy.items()):
                del self.busy[worker]
                self.free.add(worker)
                self.obey(self.core.step(TaskDone(worker, task)))
        assert (self.core.finished, self.starting, self.busy) == (True, set(), {})


TestExploration = Exploration.TestCase
