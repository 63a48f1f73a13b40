"""Nothing is stored yet only where nothing speaks against that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.nothing_stored import nothing_stored
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Request, State
from mailhaul.worker.destinations.marks import MARK
from mailhaul.worker.destinations.settings import DirectoryDestination

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """A staging area with a queue, beside an empty destination."""
    (tmp_path / "vault").mkdir()
    staging = tmp_path / "staging"
    backup(staging, "failed")
    return staging


def backup(staging: Path, state: State) -> None:
    """A backup that has ended like that."""
    queue = Operations(staging)
    number = queue.add(Request(kind="backup", asked_by="schedule:"), NOW).id
    queue.begin(number, 1, NOW)
    queue.end(number, state, NOW)


def is_fresh(staging: Path) -> bool:
    vault = DirectoryDestination(name="vault", path=str(staging.with_name("vault")))
    return nothing_stored(staging, (vault,))


def test_a_fresh_area_with_a_queue_holds_nothing(area: Path) -> None:
    assert is_fresh(area)
    (area / "lost+found").mkdir()
    (area.with_name("vault") / MARK).touch()
    assert is_fresh(area)


def test_while_the_first_run_goes_on_and_after_one_that_stored_nothing(area: Path) -> None:
    Catalog.open(area, write=True).close()
    (area / "_runs" / "2026").mkdir(parents=True)
    (area / "_runs" / "2026" / "20260301T020000Z-0000.1.mhr").touch()
    (area / "primary" / "user").mkdir(parents=True)
    (area / "primary" / "user" / "20260301T020000Z-0000.0.0000000000000000.mha.partial").touch()
    assert is_fresh(area)


def test_whoever_asks_by_hand_about_an_area_that_nobody_serves_hears_more(tmp_path: Path) -> None:
    assert not nothing_stored(tmp_path, ())
    assert not nothing_stored(tmp_path / "nowhere", ())


def an_archive(area: Path) -> None:
    Catalog.open(area, write=True).close()
    (area / "primary" / "user").mkdir(parents=True)
    (area / "primary" / "user" / "20260301T020000Z-0000.0.0000000000000000.mha").touch()


def a_snapshot(area: Path) -> None:
    (area / "_catalog").mkdir()


def a_good_backup(area: Path) -> None:
    backup(area, "partial")


def something_elsewhere(area: Path) -> None:
    (area.with_name("vault") / "primary").mkdir()


def a_destination_that_is_away(area: Path) -> None:
    area.with_name("vault").rmdir()


@pytest.mark.parametrize(
    "speaks_against_it",
    [an_archive, a_snapshot, a_good_backup, something_elsewhere, a_destination_that_is_away],
)
def test_one_that_was_lost_is_no_fresh_one(area: Path, speaks_against_it: Callable[[Path], None]) -> None:
    speaks_against_it(area)
    assert not is_fresh(area)
