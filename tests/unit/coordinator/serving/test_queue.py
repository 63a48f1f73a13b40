"""The queue starts, stops, finds what has died, and says so; with processes that are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Kind, Operation, Request
from mailhaul.coordinator.serving import files, processes, queue
from mailhaul.coordinator.serving.aftermath import ANEW, Aftermath
from mailhaul.coordinator.serving.files import carrying_out, file_of, is_carried_out
from mailhaul.coordinator.serving.given_files import all_given, keep
from mailhaul.coordinator.serving.queue import (
    IDLE,
    MOST_DEATHS,
    MOST_FAILED_STARTS,
    PAUSE,
    Queue,
    QueueObserver,
)
from mailhaul.coordinator.serving.rules import RUN, Needs
from mailhaul.proto.errors import UsageError

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
GRACE = timedelta(seconds=60)


class Process:
    """A process of an operation that does what the test says."""

    def __init__(self, house: House, number: int) -> None:
        self._house = house
        self._number = number
        self._lock = ExitStack()
        self.status: int | None = None
        self.asked = False

    def begin(self) -> None:
        """It takes the lock, and begins."""
        self._lock.enter_context(carrying_out(self._house.staging, self._number))
        assert self._house.operations.begin(self._number, 4711, NOW)

    def end(self, state: Any = "done", status: int = 0) -> None:
        """It records its end, and is gone."""
        self._house.operations.end(self._number, state, NOW, exit_status=status)
        self.die(status)

    def die(self, status: int = -9) -> None:
        """It is gone."""
        self.status = status
        self._lock.close()

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.asked = True

    def kill(self) -> None:
        self.die()


class Told(QueueObserver):
    """What was told, as words."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def began(self, operation: Operation) -> None:
        self.told.append(f"began {operation.id}")

    def adopted(self, operation: Operation) -> None:
        self.told.append(f"adopted {operation.id}")

    def died(self, operation: Operation, becomes: str) -> None:
        self.told.append(f"died {operation.id}: {becomes}")

    def hung(self, operation: Operation) -> None:
        self.told.append(f"hung {operation.id}: {operation.state}")

    def ended(self, operation: Operation) -> None:
        self.told.append(f"ended {operation.id}: {operation.state}")


class House:
    """A staging area, its queue, and processes that are none."""

    def __init__(self, staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.staging = staging
        self.operations = Operations(staging)
        self.processes: dict[int, Process] = {}
        self.signals: list[str] = []
        self.after: dict[int, Aftermath] = {}
        self.now = NOW
        self.unknown: set[int] = set()
        self.observer = Told()
        self.queue = self.serve()
        monkeypatch.setattr(processes, "ask_to_end", lambda _, one: self.signals.append(f"TERM {one.id}"))
        monkeypatch.setattr(processes, "kill", self._kill)
        monkeypatch.setattr(queue, "aftermath", lambda _, one: self.after.get(one.id, ANEW))

    def serve(self) -> Queue:
        """A coordinator; the one before is gone."""
        self.queue = Queue(self.staging, self._start, self._needs, self.observer, GRACE)
        return self.queue

    @contextmanager
    def operations_unknown(self, number: int) -> Iterator[None]:
        """What this operation needs can't be told meanwhile."""
        self.unknown.add(number)
        yield
        self.unknown.discard(number)

    def add(self, kind: Kind = "backup") -> int:
        return self.operations.add(Request(kind=kind, asked_by="cli:root"), self.now).id

    def tick(self, seconds: float = 1) -> list[str]:
        """What is told meanwhile."""
        self.now += timedelta(seconds=seconds)
        before = len(self.observer.told)
        self.queue.tick(self.now)
        return self.observer.told[before:]

    def state(self, number: int) -> str:
        return self.operations.get(number).state

    def _start(self, number: int) -> Process:
        self.processes[number] = Process(self, number)
        return self.processes[number]

    def _needs(self, operation: Operation) -> Needs:
        if operation.request.kind == "drill" or operation.id in self.unknown:
            raise UsageError("this version has no drill")
        return Needs(alone=frozenset({RUN} if operation.request.kind == "backup" else ()))

    def _kill(self, _: Path, operation: Operation) -> None:
        self.signals.append(f"KILL {operation.id}")
        self.processes[operation.id].die()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


def test_the_first_begins_and_the_others_say_what_they_wait_for(house: House) -> None:
    first, second, third = house.add(), house.add(), house.add("verify")
    house.tick()
    assert sorted(house.processes) == [first, third]
    assert house.operations.get(second).waits_for == f"waits for the backup {first}"
    house.processes[first].begin()
    house.processes[third].begin()
    assert house.tick() == [f"began {first}", f"began {third}"]
    assert len(house.processes) == 2, "none is started twice"
    house.processes[first].end()
    assert house.tick() == [f"ended {first}: done"]
    assert second in house.processes


def test_what_died_goes_on_with_what_it_had_begun(house: House) -> None:
    number = house.add()
    house.tick()
    house.processes[number].begin()
    house.tick()
    house.after[number] = Aftermath(resumes="20260301T020000Z-0000")
    house.processes.pop(number).die()
    assert house.tick() == [f"died {number}: waiting"]
    operation = house.operations.get(number)
    assert (operation.deaths, operation.resumes) == (1, "20260301T020000Z-0000")
    house.processes[number].begin()
    house.processes[number].end()
    assert house.tick() == [f"ended {number}: done"]


def test_what_dies_again_and_again_fails(house: House) -> None:
    number = house.add()
    for death in range(MOST_DEATHS):
        house.tick(60)
        house.processes[number].begin()
        house.tick()
        file_of(house.staging, number, "err").write_text(f"mailhaul: no memory {death}\n")
        house.processes.pop(number).die()
    house.tick()
    operation = house.operations.get(number)
    assert (operation.state, operation.attempts) == ("failed", MOST_DEATHS)
    assert operation.error == "its process died 3 times; it said last: mailhaul: no memory 2"
    house.tick(60)
    assert number not in house.processes


def test_what_had_ended_before_it_could_say_so_is_not_done_again(house: House) -> None:
    number = house.add()
    house.tick()
    house.processes[number].begin()
    house.after[number] = Aftermath(ended="partial")
    house.processes.pop(number).die()
    house.tick()
    house.tick(60)
    assert house.state(number) == "partial"
    assert number not in house.processes


def test_a_stop_is_asked_for_and_after_the_grace_it_is_forced(house: House) -> None:
    number = house.add()
    house.tick()
    house.processes[number].begin()
    assert house.operations.stopping(number)
    house.tick()
    house.tick(30)
    assert house.signals == [f"TERM {number}"]
    house.tick(31)
    assert house.signals == [f"TERM {number}", f"KILL {number}"]
    house.tick()
    assert house.state(number) == "stopped"
    assert f"ended {number}: stopped" in house.observer.told


def test_a_new_coordinator_adopts_what_runs_and_finds_what_died(house: House) -> None:
    runs, died = house.add("verify"), house.add("sweep")
    house.tick()
    for number in (runs, died):
        house.processes[number].begin()
    house.processes.pop(died).die()
    house.serve()
    assert house.tick() == [f"died {died}: waiting", f"adopted {runs}"]
    assert house.state(runs) == "running"
    assert died in house.processes
    house.processes[runs].end()
    assert f"ended {runs}: done" in house.tick()


def test_a_process_that_is_about_to_begin_when_the_coordinator_dies_is_no_reason_for_another(
    house: House,
) -> None:
    number = house.add()
    house.tick()
    starting = house.processes.pop(number)
    with carrying_out(house.staging, number):  # it has the lock, and has not begun yet
        house.serve()
        house.tick()
        assert number not in house.processes
    starting.begin()
    assert house.tick() == [f"began {number}"]
    assert number not in house.processes


def test_one_that_can_not_begin_is_tried_three_times(house: House) -> None:
    number = house.add()
    for _ in range(3):
        house.tick(PAUSE.total_seconds() + 1)
        file_of(house.staging, number, "err").parent.mkdir(exist_ok=True)
        file_of(house.staging, number, "err").write_text("mailhaul: a wrong configuration\n")
        house.processes.pop(number).die(2)
        house.tick()
        assert number not in house.processes, "not before a pause"
    operation = house.operations.get(number)
    assert (operation.state, operation.attempts) == ("failed", 0)
    assert operation.error.endswith("(exit status 2): mailhaul: a wrong configuration")


def test_one_that_hangs_before_it_begins_is_killed_and_tried_three_times(house: House) -> None:
    number = house.add()
    told = []
    for _ in range(MOST_FAILED_STARTS):
        house.tick(PAUSE.total_seconds() + 1)
        hanging = house.processes.pop(number)
        house.tick(IDLE.total_seconds() - 1)
        assert hanging.status is None
        house.tick()
        assert hanging.status == -9
        told += house.tick()
        assert number not in house.processes, "not before a pause"
    assert told == [f"hung {number}: waiting"] * 2 + [f"hung {number}: failed", f"ended {number}: failed"]
    operation = house.operations.get(number)
    assert (operation.attempts, operation.error) == (
        0,
        "its process had not begun after 5 minutes, and was killed",
    )


def test_one_that_runs_for_long_does_not_hang(house: House) -> None:
    number = house.add()
    house.tick()
    house.processes[number].begin()
    for _ in range(3):
        house.tick(IDLE.total_seconds())
    assert house.processes[number].status is None
    house.processes[number].end()
    assert house.tick() == [f"ended {number}: done"]


def test_one_that_has_put_itself_back_and_does_not_leave_is_killed(house: House) -> None:
    number = house.add()
    house.tick()
    hanging = house.processes.pop(number)
    hanging.begin()
    house.tick()
    assert house.operations.put_back(number, "waits: another run holds the lock", "")
    for _ in range(3):
        house.tick(IDLE.total_seconds())
    assert hanging.status == -9
    assert house.tick(PAUSE.total_seconds() + 1) == [], "it did not hang before it began"
    house.processes[number].begin()


def test_one_that_finds_a_lock_taken_waits_and_tries_again(house: House) -> None:
    number = house.add()
    house.tick()
    house.processes[number].begin()
    assert house.operations.put_back(number, "waits: another run holds the lock", "")
    house.processes.pop(number).die(5)
    house.tick()
    assert house.operations.get(number).waits_for == "waits: another run holds the lock"
    assert number not in house.processes
    house.tick(PAUSE.total_seconds() + 1)
    house.processes[number].begin()
    house.processes[number].end()
    house.tick()
    assert (house.state(number), house.operations.get(number).deaths) == ("done", 0)


def test_what_it_was_given_is_kept_until_it_has_ended(house: House) -> None:
    number, other = house.add("verify"), house.add("sweep")
    for one in (number, other):
        keep(house.staging, one, {"map_file": b"a = b\n"})
    house.tick()
    house.processes[number].begin()
    house.processes[number].end("interrupted", 143)
    house.processes[other].begin()
    house.processes[other].end("failed", 1)
    house.queue.interrupt(lambda: NOW)
    assert list(all_given(house.staging)) == [number], "it goes on with the next coordinator"
    house.processes.clear()
    house.serve()
    house.tick()
    house.processes[number].begin()
    house.processes[number].end()
    assert house.tick() == [f"ended {number}: done"]
    assert all_given(house.staging) == {}


def test_what_is_no_operation_any_more_fails(house: House) -> None:
    number = house.add("drill")
    house.tick()
    assert house.state(number) == "failed"
    assert house.operations.get(number).error == "this version has no drill"


def test_when_the_coordinator_ends_all_is_interrupted_and_goes_on_with_the_next(house: House) -> None:
    begun, stopping, starting = house.add("verify"), house.add("sweep"), house.add()
    house.tick()
    for number in (begun, stopping):
        house.processes[number].begin()
    assert house.operations.stopping(stopping)
    house.processes[starting].die(143)
    times = iter((NOW, NOW, NOW + GRACE, NOW + GRACE, *[NOW + 2 * GRACE] * 20))
    house.queue.interrupt(lambda: next(times))
    assert all(house.processes[one].asked for one in (begun, stopping))
    assert {f"TERM {begun}", f"TERM {stopping}", f"KILL {begun}"} <= set(house.signals)
    assert [house.state(one) for one in (begun, stopping, starting)] == ["interrupted", "stopped", "waiting"]
    house.processes.clear()
    house.serve()
    house.tick()
    assert sorted(house.processes) == [begun, starting]
    assert house.operations.get(begun).deaths == 0


def test_an_end_that_could_not_be_told_is_told_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    number = house.add()
    house.tick()
    house.processes[number].begin()
    house.processes[number].end()

    def full(_: Operation) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(house.observer, "ended", full)
        with pytest.raises(OSError, match="no space left"):
            house.tick()
    assert house.tick() == [f"ended {number}: done"]
    assert house.tick() == []


def test_what_was_interrupted_when_all_was_done_is_not_done_again(house: House) -> None:
    number, other = house.add("verify"), house.add("sweep")
    house.tick()
    for one in (number, other):
        house.processes[one].begin()
        house.processes[one].end("interrupted", 143)
    house.queue.interrupt(lambda: NOW)
    assert house.observer.told[-2:] == [f"ended {number}: interrupted", f"ended {other}: interrupted"]
    assert house.operations.withdraw(other, NOW)
    house.after[number] = Aftermath(ended="done")
    house.processes.clear()
    house.serve()
    assert house.tick() == [f"ended {number}: done", f"ended {other}: stopped"]
    house.tick(60)
    assert house.processes == {}


def test_one_under_way_that_nobody_understands_holds_up_no_reader(house: House) -> None:
    first, second = house.add(), house.add("sweep")
    house.operations.begin(first, 4711, NOW)
    with carrying_out(house.staging, first), house.operations_unknown(first):
        house.tick()
        assert second in house.processes


def test_one_under_way_keeps_its_lock_however_many_end_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "KEPT", 1)
    first, *others = house.add(), *(house.add("sweep") for _ in range(3))
    house.tick()
    for number in (first, *others):
        house.processes[number].begin()
    for number in others:
        house.processes[number].end()
    assert house.tick() == [f"began {first}", *(f"ended {number}: done" for number in others)]
    assert not file_of(house.staging, others[0], "lock").exists()
    assert is_carried_out(house.staging, first)
    assert house.tick() == []
    assert house.state(first) == "running"


def test_what_a_start_has_begun_says_nothing_of_one_that_begins_anew(house: House) -> None:
    for put_back in (True, False):
        number = house.add("verify")
        house.operations.begin(number, 4711, NOW)
        house.operations.carries(number, "an earlier run")
        if put_back:
            assert house.operations.put_back(number, "waits", "")
        else:
            assert house.operations.again(number, "")
        assert house.operations.get(number).carries == ""


def test_one_that_has_not_begun_keeps_no_coordinator_from_ending(house: House) -> None:
    number = house.add()
    house.tick()
    times = iter((NOW, NOW, *[NOW + GRACE] * 20))
    house.queue.interrupt(lambda: next(times))
    assert house.processes[number].status == -9
    assert house.state(number) == "waiting"
