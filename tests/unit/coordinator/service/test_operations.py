"""The queue on record: each change of state happens once, and what is written is found again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Request
from mailhaul.proto.errors import NotFoundError

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
BACKUP = Request(
    kind="backup", arguments=("/primary/staff", "--full"), asked_by="schedule:", entry="a", due=NOW
)


def test_an_operation_is_found_as_it_was_put_in(tmp_path: Path) -> None:
    queue = Operations(tmp_path)
    added = queue.add(BACKUP, NOW)
    assert (added.request, added.asked, added.state) == (BACKUP, NOW, "waiting")
    assert Operations(tmp_path).get(added.id) == added
    with pytest.raises(NotFoundError):
        queue.get(added.id + 1)
    assert (tmp_path / ".mailhaul" / "service.sqlite").stat().st_mode & 0o777 == 0o600


def test_of_many_that_begin_an_operation_one_does(tmp_path: Path) -> None:
    queue = Operations(tmp_path)
    number = queue.add(BACKUP, NOW).id
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda pid: queue.begin(number, pid, NOW), range(1, 17)))
    assert sum(begun) == 1
    assert queue.get(number).pid == begun.index(True) + 1


def test_what_has_ended_does_not_end_again(tmp_path: Path) -> None:
    queue = Operations(tmp_path)
    number = queue.add(BACKUP, NOW).id
    assert queue.begin(number, 7, NOW)
    assert queue.stopping(number)
    assert not queue.begin(number, 8, NOW)
    later = NOW + timedelta(minutes=5)
    assert queue.end(number, "stopped", later, exit_status=143)
    assert not queue.end(number, "done", later)
    assert not queue.again(number, "")
    ended = queue.get(number)
    assert (ended.state, ended.ended, ended.exit_status, ended.pid) == ("stopped", later, 143, 0)


def test_what_died_waits_again_with_what_it_resumes(tmp_path: Path) -> None:
    queue = Operations(tmp_path)
    number = queue.add(BACKUP, NOW).id
    queue.wait_for(number, "a purge")
    assert queue.get(number).waits_for == "a purge"
    assert queue.begin(number, 7, NOW)
    queue.wait_for(number, "nothing, it runs")
    assert queue.again(number, "20260301T020000Z-0000")
    operation = queue.get(number)
    assert (operation.state, operation.resumes, operation.attempts, operation.waits_for) == (
        "waiting",
        "20260301T020000Z-0000",
        1,
        "",
    )


def test_lists_are_by_state_and_kind_and_paged(tmp_path: Path) -> None:
    queue = Operations(tmp_path)
    numbers = [queue.add(BACKUP, NOW).id for _ in range(5)]
    sweep = queue.add(Request(kind="sweep", asked_by="cli:root"), NOW).id
    queue.begin(numbers[1], 7, NOW)
    assert [state.id for state in queue.in_states(("waiting",), ("backup",))] == [numbers[0], *numbers[2:]]
    assert [in_state.id for in_state in queue.in_states(("running",))] == [numbers[1]]
    assert [operation.id for operation in queue.newest(2)] == [sweep, numbers[4]]
    assert [one.id for one in queue.newest(9, before=numbers[2])] == [numbers[1], numbers[0]]
