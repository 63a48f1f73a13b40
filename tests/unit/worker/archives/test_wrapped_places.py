"""What wrappers add to a place: tries, a pace, counts; and that faults happen as planned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from mailhaul.proto.errors import (
    BackupError,
    DamagedError,
    ExistsError,
    NotYetError,
    PlaceError,
    PlaceFullError,
    PlaceUnavailableError,
)
from mailhaul.tests.contract.putting import Pattern
from mailhaul.tests.faulty_places import Fault, Faults, FaultyPlace
from mailhaul.worker.archives.counted import CountedPlace, Traffic
from mailhaul.worker.archives.paced import PacedPlace
from mailhaul.worker.archives.ports import Place
from mailhaul.worker.archives.retried import Patience, RetriedPlace
from mailhaul.worker.destinations.memory import MemoryFiles, MemoryPlace
from mailhaul.worker.load.budget import Budget
from mailhaul.worker.load.limits import LoadLimits

NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
SIZE = 5000


class Time:
    """A clock that stands still between sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def files() -> MemoryFiles:
    return MemoryFiles()


@pytest.fixture
def memory(files: MemoryFiles) -> MemoryPlace:
    return MemoryPlace("memory", files)


def retried(place: Place, time: Time, told: list[str] | None = None) -> RetriedPlace:
    patience = Patience(
        total_seconds=30.0, longest_seconds=8.0, clock=lambda: time.now, sleep=time.sleep, chance=lambda: 0.0
    )
    messages = [] if told is None else told
    return RetriedPlace(place, patience, lambda error: messages.append(error.message))


class TestRetriedPlace:
    def test_pauses_grow_and_end(self, memory: MemoryPlace, time: Time) -> None:
        faults = Faults(*(Fault("stat", nth) for nth in range(1, 50)))
        told: list[str] = []
        with pytest.raises(PlaceUnavailableError, match="as planned"):
            retried(FaultyPlace(memory, faults), time, told).stat(NAME)
        assert time.slept == [1, 2, 4, 8, 8]
        assert told == ["as planned"] * 5

    def test_a_part_of_a_pause_is_left_to_chance(self, memory: MemoryPlace, time: Time) -> None:
        patience = Patience(clock=lambda: time.now, sleep=time.sleep, chance=lambda: 0.5)
        place = RetriedPlace(FaultyPlace(memory, Faults(Fault("stat", 1), Fault("stat", 2))), patience)
        assert place.stat(NAME) is None
        assert time.slept == [0.75, 1.5]

    def test_patience_begins_anew_with_each_request(self, memory: MemoryPlace, time: Time) -> None:
        faults = Faults(*(Fault("stat", nth) for nth in range(1, 40) if nth % 4))
        place = retried(FaultyPlace(memory, faults), time)
        for _ in range(10):
            assert place.stat(NAME) is None
        assert not faults.left

    @pytest.mark.parametrize(
        "error", [PlaceError("no"), PlaceFullError("full"), NotYetError("cold"), DamagedError("lost")]
    )
    def test_what_does_not_pass_by_waiting_is_told_at_once(
        self, memory: MemoryPlace, time: Time, error: BackupError
    ) -> None:
        place = retried(FaultyPlace(memory, Faults(Fault("put", error=error))), time)
        with pytest.raises(type(error)) as raised:
            place.put(NAME, Pattern(SIZE))
        assert raised.value is error
        assert time.slept == []

    def test_an_answer_that_is_lost(self, files: MemoryFiles, memory: MemoryPlace, time: Time) -> None:
        faults = Faults(Fault("put", 1, "lost"), Fault("remove", 1, "lost"))
        place = retried(FaultyPlace(memory, faults), time)
        copy = place.put(NAME, Pattern(SIZE))
        assert list(files.files) == [(NAME, copy.version)], "it was put once"
        place.remove(NAME, copy.version)
        assert not files.files
        assert not faults.left

    def test_a_list_that_breaks_off_tells_each_once(self, memory: MemoryPlace, time: Time) -> None:
        class Breaking(MemoryPlace):
            lists = 0

            def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]
                self.lists += 1
                for number, copy in enumerate(super().list(prefix)):
                    if self.lists < 4 and number == self.lists:
                        raise PlaceUnavailableError("broken off")
                    yield copy

        place = Breaking("memory", memory.files)
        for number in range(6):
            place.put(f"file{number}", Pattern(number))
        assert [copy.name for copy in retried(place, time).list()] == [f"file{number}" for number in range(6)]
        assert place.lists == 4

    def test_a_file_is_opened_anew(self, files: MemoryFiles, memory: MemoryPlace, time: Time) -> None:
        copy = memory.put(NAME, Pattern(SIZE))
        faults = Faults(Fault("read", 1), Fault("open", 2), Fault("read", 3))
        place = retried(FaultyPlace(memory, faults), time)
        with closing(place.open(NAME)) as file:
            assert file.read_at(10, 20) == Pattern(SIZE).read_at(10, 20)
            memory.remove(NAME, copy.version)
            memory.put(NAME, Pattern(SIZE + 1))
            with pytest.raises(DamagedError, match="another file"):
                file.read_at(10, 20)
        assert not faults.left

    def test_a_source_that_fails_for_good(self, memory: MemoryPlace, time: Time) -> None:
        class Lost(Pattern):
            def read_at(self, offset: int, length: int) -> bytes:
                raise DamagedError("lost", reason="io-error")

        with pytest.raises(DamagedError):
            retried(memory, time).put(NAME, Lost(SIZE))
        assert time.slept == []


class TestCountedPlace:
    def test_requests_and_bytes(self, memory: MemoryPlace) -> None:
        traffic = Traffic()
        place = CountedPlace(memory, traffic)
        place.put(NAME, Pattern(SIZE))
        place.stat(NAME)
        assert len(list(place.list())) == 1
        with closing(place.open(NAME)) as file:
            file.read_at(0, 100)
            file.read_at(SIZE - 10, 100)
        assert traffic.requests == {"put": 1, "stat": 1, "list": 1, "open": 1, "read": 2}
        assert (traffic.put_bytes, traffic.read_bytes) == (SIZE, 110)

    def test_what_fails_is_counted(self, memory: MemoryPlace) -> None:
        traffic = Traffic()
        place = CountedPlace(memory, traffic)
        place.put(NAME, Pattern(SIZE))
        with pytest.raises(ExistsError):
            place.put(NAME, Pattern(SIZE + 1))
        with pytest.raises(DamagedError):
            place.open("other")
        assert traffic.requests == {"put": 2, "open": 1}


class _Ledger:
    """Time that is booked one after the other."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._until: dict[int, int] = {}

    def book(self, allowance: int, length_ns: int) -> int:
        begins = max(self._until.get(allowance, 0), int(self._time.now * 1e9))
        self._until[allowance] = begins + length_ns
        return begins


class TestPacedPlace:
    def paced(self, place: Place, time: Time, limits: LoadLimits) -> PacedPlace:
        budget = Budget(limits, _Ledger(time), lambda: int(time.now * 1e9), time.sleep)
        return PacedPlace(place, budget)

    def test_bytes(self, memory: MemoryPlace, time: Time) -> None:
        place = self.paced(memory, time, LoadLimits(bytes_per_second=1 << 20))
        begun = time.now
        place.put(NAME, Pattern(10 << 20))
        assert time.now - begun == pytest.approx(10, abs=0.2)
        with closing(place.open(NAME)) as file:
            for at in range(0, 5 << 20, 1 << 20):
                file.read_at(at, 1 << 20)
        assert time.now - begun == pytest.approx(15, abs=0.2)

    def test_requests(self, memory: MemoryPlace, time: Time) -> None:
        place = self.paced(memory, time, LoadLimits(messages_per_second=10))
        begun = time.now
        calls: list[Callable[[], object]] = [
            lambda: place.stat(NAME), lambda: list(place.list()), place.commit, lambda: place.remove(NAME)
        ]  # fmt: skip
        for _ in range(10):
            for call in calls:
                call()
        assert time.now - begun == pytest.approx(4, abs=0.3)


class TestFaultyPlace:
    def test_before_nothing_is_done(self, memory: MemoryPlace) -> None:
        faults = Faults(Fault("put", 2))
        place = FaultyPlace(memory, faults)
        place.put("first", Pattern(1))
        assert len(faults.left) == 1
        with pytest.raises(PlaceUnavailableError):
            place.put("second", Pattern(1))
        assert not faults.left
        assert [copy.name for copy in memory.list()] == ["first"]

    def test_what_vanishes(self, memory: MemoryPlace) -> None:
        place = FaultyPlace(memory, Faults(Fault("put", 1, "vanish")))
        assert place.put(NAME, Pattern(SIZE)).size_bytes == SIZE
        assert place.stat(NAME) is None

    def test_a_short_read(self, memory: MemoryPlace) -> None:
        memory.put(NAME, Pattern(SIZE))
        with closing(FaultyPlace(memory, Faults(Fault("read", 1, "short"))).open(NAME)) as file:
            assert file.read_at(0, 100) == Pattern(50).read_at(0, 50)
            assert len(file.read_at(0, 100)) == 100
