"""Run ids: what they look like, and that they sort in the order of the runs whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.clock import RUN_ID, SystemClock, utc
from mailhaul.coordinator.run_ids import new_run_id
from mailhaul.proto.records import RunId

NOW = datetime(2026, 11, 21, 3, 15, 0, 900_000, UTC).timestamp()


def test_id_is_the_start_and_four_digits() -> None:
    run = new_run_id(NOW, RunId("20261121T031459Z-ffff"))
    assert run.startswith("20261121T031500Z-")
    assert RUN_ID.fullmatch(run)


def test_ids_of_one_second_count_up_also_into_the_next() -> None:
    assert new_run_id(NOW, RunId("20261121T031500Z-4f3a")) == "20261121T031500Z-4f3b"
    assert new_run_id(NOW, RunId("20261231T235959Z-ffff")) == "20270101T000000Z-0000"


@given(st.lists(st.integers(0, 4_000_000_000), max_size=20))
def test_ids_sort_as_they_are_made(times: list[int]) -> None:
    made: list[RunId] = []
    for now in times:
        made.append(new_run_id(now, made[-1] if made else None))
    assert made == sorted(set(made))
    assert all(RUN_ID.fullmatch(run) for run in made)


def test_system_clock_tells_utc_and_goes_forward() -> None:
    clock = SystemClock()
    assert utc(clock.now()).tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()
