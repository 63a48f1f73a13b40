"""Any history of the queue's records: operations put in, begun, killed, stopped, put back, coordinators that
end and begin. None is carried out twice at a time, none begins when it has ended, none is lost, and each end
is told."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import ENDED, UNDER_WAY, Kind, Operation, Request
from mailhaul.coordinator.serving.files import carrying_out, is_carried_out
from mailhaul.coordinator.serving.queue import MOST_DEATHS, MOST_FAILED_STARTS, Queue, QueueObserver
from mailhaul.coordinator.serving.rules import RUN, Needs
from mailhaul.proto.errors import LockedError

GRACE = timedelta(hours=1)
_MEMORY = Path("/dev/shm")


class Process:
    """A process of an operation: it holds the lock when it has begun, and lets go of it when it is gone."""

    def __init__(self, machine: QueueMachine, number: int) -> None:
        self.number = number
        self.status: int | None = None
        self.begun = False
        self._machine = machine
        self._lock = ExitStack()

    def begin(self) -> None:
        """Take the lock and begin, as `operations run` does."""
        try:
            self._lock.enter_context(carrying_out(self._machine.staging, self.number))
        except LockedError:
            self.gone(5)
            return
        self.begun = self._machine.operations.begin(self.number, 1, self._machine.now)
        if not self.begun:
            self.gone(0)

    def gone(self, status: int) -> None:
        """However it ended."""
        self.status = status
        self._lock.close()

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        if not self.begun:
            self.gone(-15)

    def kill(self) -> None:
        self.gone(-9)


class Ends(QueueObserver):
    """The ends that were told."""

    def __init__(self) -> None:
        self.told: dict[int, list[str]] = {}

    def ended(self, operation: Operation) -> None:
        self.told.setdefault(operation.id, []).append(operation.state)


class QueueMachine(RuleBasedStateMachine):
    """The queue with processes that are none; what they do, and when they die, is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.staging = Path(tempfile.mkdtemp(dir=_MEMORY if _MEMORY.is_dir() else None))
        self.operations = Operations(self.staging)
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.processes: list[Process] = []
        self.observer = Ends()
        self.numbers: list[int] = []
        self.begins: dict[int, int] = {}
        self.well: set[int] = set()
        self.queue = self._serve()

    def teardown(self) -> None:
        for process in self.processes:
            process.gone(0)
        shutil.rmtree(self.staging)

    def _serve(self) -> Queue:
        return Queue(self.staging, self._start, _needs, self.observer, GRACE)

    def _start(self, number: int) -> Process:
        assert not any(
            process.number == number and process.begun and process.status is None
            for process in self.processes
        )
        self.processes.append(Process(self, number))
        return self.processes[-1]

    def _living(self, *, begun: bool) -> list[Process]:
        return [process for process in self.processes if process.status is None and process.begun == begun]

    @rule(kind=st.sampled_from(["backup", "sweep"]))
    def add(self, kind: Kind) -> None:
        self.numbers.append(self.operations.add(Request(kind=kind, asked_by="cli:root"), self.now).id)

    @rule(seconds=st.sampled_from([1, 20]))
    def tick(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.queue.tick(self.now)

    @rule()
    def the_coordinator_dies_and_another_begins(self) -> None:
        self.queue = self._serve()

    @precondition(lambda self: self._living(begun=False))
    @rule(data=st.data())
    def a_process_begins(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self._living(begun=False)))
        before = self.operations.get(process.number)
        process.begin()
        if process.begun:
            assert before.state == "waiting"
            assert process.number not in self.well, "what was done is not begun again"
            self.begins[process.number] = self.begins.get(process.number, 0) + 1

    @precondition(lambda self: self._living(begun=False))
    @rule(data=st.data())
    def a_process_dies_before_it_begins(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self._living(begun=False))).gone(1)

    @precondition(lambda self: self._living(begun=True))
    @rule(
        data=st.data(),
        how=st.sampled_from(["done", "failed", "dies", "killed by hand", "finds a lock taken"]),
    )
    def a_process_ends(self, data: st.DataObject, how: str) -> None:
        process = data.draw(st.sampled_from(self._living(begun=True)))
        number, operations = process.number, self.operations
        asked = operations.get(number).state == "stopping"
        match how:
            case "done":
                assert operations.end(number, "done", self.now, exit_status=0)
                self.well.add(number)
            case "failed":
                assert operations.end(number, "failed", self.now, exit_status=1)
            case "killed by hand":
                assert operations.end(
                    number, "stopped" if asked else "interrupted", self.now, exit_status=143
                )
            case "finds a lock taken":
                assert operations.put_back(number, "waits", "") != asked
                if asked:
                    operations.end(number, "stopped", self.now)
        process.gone(0)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """As `operations stop` does."""
        number = data.draw(st.sampled_from(self.numbers))
        if not self.operations.withdraw(number, self.now):
            self.operations.stopping(number)

    @invariant()
    def one_process_carries_each_out_at_most(self) -> None:
        living = [process.number for process in self._living(begun=True)]
        assert len(living) == len(set(living))
        for number in living:
            assert self.operations.get(number).state in UNDER_WAY
            assert is_carried_out(self.staging, number)

    @invariant()
    def at_most_one_holds_the_run_lock(self) -> None:
        kinds = [self.operations.get(process.number).request.kind for process in self._living(begun=True)]
        assert kinds.count("backup") <= 1

    @invariant()
    def starts_are_counted_and_deaths_are_bounded(self) -> None:
        for number in self.numbers:
            operation = self.operations.get(number)
            assert operation.attempts == self.begins.get(number, 0)
            assert operation.deaths < MOST_DEATHS

    @rule()
    def all_that_is_left_ends(self) -> None:
        """Where processes do what they should, every operation comes to its end, and is told of."""
        for _ in range(2 * (len(self.numbers) + 2) * MOST_FAILED_STARTS):
            for process in self._living(begun=False):
                process.begin()
                if process.begun:
                    self.begins[process.number] = self.begins.get(process.number, 0) + 1
            for process in self._living(begun=True):
                self.operations.end(process.number, "done", self.now, exit_status=0)
                self.well.add(process.number)
                process.gone(0)
            self.tick(20)
        for number in self.numbers:
            operation = self.operations.get(number)
            assert operation.state in ENDED
            assert operation.state != "interrupted"
            assert self.observer.told[number][-1] == operation.state
            finals = [state for state in self.observer.told[number] if state != "interrupted"]
            assert len(finals) == 1
            assert (number in self.well) == (operation.state == "done")


def _needs(operation: Operation) -> Needs:
    return Needs(alone=frozenset({RUN} if operation.request.kind == "backup" else ()))


TestQueueHistories = QueueMachine.TestCase
TestQueueHistories.settings = settings(
    max_examples=20 if settings().max_examples <= 200 else 500, stateful_step_count=25
)
