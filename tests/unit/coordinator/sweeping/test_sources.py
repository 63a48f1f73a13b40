"""What has left the staging area is copied on from where it lies: from tapes too, each volume read once and
forward; and what is wrong there says nothing of the place that it goes to."""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.fetching import fetch
from mailhaul.coordinator.settings import SweepRules
from mailhaul.coordinator.sweeping.report import DestinationReport
from mailhaul.proto.errors import EXIT_DAMAGED, EXIT_OK, EXIT_SKIPPED
from mailhaul.proto.structs import replace
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.tests.sweeping import Swept, directory, places_of
from mailhaul.tests.tapes import Tapes, damage
from mailhaul.worker.destinations.tape.file_drive import FileDrive

NIGHTS = 8


@pytest.fixture
def tapes(tmp_path: Path) -> Tapes:
    return Tapes(tmp_path / "library")


@pytest.fixture
def swept(tmp_path: Path, tapes: Tapes) -> Swept:
    """Archives that lie on several volumes and nowhere else; now a copy in each of two directories is asked
    for."""
    chain = StagedChain(tmp_path / "staging")
    for _ in range(NIGHTS):
        chain.run({"anna": {"INBOX": (b"Subject: a\r\n\r\n" + os.urandom(300_000),)}})
    drive = replace(tapes.settings, capacity_bytes=1 << 20)
    rules = SweepRules(copies=("drive",), keep_staged_seconds=0, keep_newest=False)
    made = Swept(chain, (drive,), rules, look_again_seconds=0)
    made.sweep()
    assert not any(record.is_staged for record in made.records())
    assert len(tapes.volumes()) > 2
    places = (drive, directory(tmp_path, "new"), directory(tmp_path, "other"))
    return replace(made, destinations=places, rules=replace(rules, copies=("drive", "new", "other")))


def swept_to(swept: Swept, name: str, status: int = EXIT_OK) -> DestinationReport:
    report = swept.sweep()
    assert report.exit_code == status, report
    return {destination.name: destination for destination in report.destinations}[name]


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The records that are read, by volume and block."""
    made: list[tuple[str, int]] = []
    read = FileDrive.read_record

    def noted(drive: FileDrive) -> object:
        made.append((Path(drive.name).name, drive.position() or 0))
        return read(drive)

    monkeypatch.setattr(FileDrive, "read_record", noted)
    return made


def loaded(read: list[tuple[str, int]]) -> list[str]:
    """The volumes, as often as they had to be loaded."""
    return [read[0][0], *(two[0] for one, two in pairwise(read) if one[0] != two[0])]


def test_what_lies_on_tape_only_is_copied_on(swept: Swept, moves: list[tuple[str, int]]) -> None:
    report = {destination.name: destination for destination in swept.sweep().destinations}
    assert (report["new"].copied, report["other"].copied) == (NIGHTS, 0)
    moves.clear()
    assert swept.sweep(to="other").destinations[0].copied == NIGHTS
    assert moves == [], "from the first directory"
    assert all(places_of(record, "kept") == {"drive", "new", "other"} for record in swept.records())


def test_each_volume_is_read_once_and_forward(swept: Swept, moves: list[tuple[str, int]]) -> None:
    assert swept.sweep(to="new").destinations[0].copied == NIGHTS
    read = [move for move in moves if move[1] > 1]  # the first are the label
    assert all(one[0] != two[0] or one[1] < two[1] for one, two in pairwise(read))
    versions = [copy.version for record in swept.records() for copy in record.copies if copy.place == "drive"]
    assert (
        len(loaded(read))
        == len(set(loaded(read)))
        == len({version.partition(":")[0] for version in versions})
    )


def test_a_volume_that_is_away_is_asked_for_and_what_is_there_is_copied(swept: Swept, tapes: Tapes) -> None:
    away = tapes.volumes()[0]
    shelf = away.rename(tapes.root / away.name)
    done = swept_to(swept, "new")
    assert 0 < done.copied < NIGHTS
    assert done.copied + done.out_of_reach == NIGHTS
    assert done.failed == []
    (wanted,) = tapes.tape().inventory.wanted()
    assert wanted.label == away.stem
    shelf.rename(away)
    assert swept_to(swept, "new").out_of_reach == 0
    assert all("new" in places_of(record, "kept") for record in swept.records())
    assert tapes.tape().inventory.wanted() == []


def test_a_copy_that_is_damaged_on_tape_is_told_and_counts_no_more(swept: Swept, tapes: Tapes) -> None:
    copy = swept.records()[0].copies[-1]
    damage(tapes.volumes()[0], int(copy.version.partition(":")[2]) + 2)
    report = swept.sweep()
    assert report.exit_code == EXIT_DAMAGED
    assert [skip.path for skip in report.damaged] == [copy.name]
    assert [record.copies[-1].state for record in swept.records()].count("lost") == 1
    assert {destination.name: destination.copied for destination in report.destinations}["new"] == NIGHTS - 1


def test_a_source_that_is_away_is_no_failure_of_the_place_that_is_copied_to(
    swept: Swept, tmp_path: Path
) -> None:
    swept.sweep()
    swept.destinations = swept.destinations[1:]
    (tmp_path / "new").rename(tmp_path / "unmounted")
    told = swept_to(swept, "other", EXIT_SKIPPED)
    assert told.stopped is None
    assert len(told.failed) == NIGHTS
    assert "mount its disk" in told.failed[0].detail
    (tmp_path / "unmounted").rename(tmp_path / "new")
    assert swept_to(swept, "other").copied == NIGHTS


def test_a_damaged_copy_at_a_destination_is_told_and_the_next_is_taken(swept: Swept, tmp_path: Path) -> None:
    for _ in range(2):
        swept.sweep()
    swept.destinations = (*swept.destinations, directory(tmp_path, "last"))
    swept.rules = replace(swept.rules, copies=(*swept.rules.copies, "last"))
    file = tmp_path / "new" / swept.records()[3].name
    file.write_bytes(file.read_bytes()[:-9] + bytes(9))
    report = swept.sweep()
    assert (report.exit_code, [skip.path for skip in report.damaged]) == (
        EXIT_DAMAGED,
        [swept.records()[3].name],
    )
    told = {destination.name: destination for destination in swept.sweep().destinations}
    assert (told["last"].copied, told["new"].copied) == (1, 1), "from the other directory"
    assert swept_to(swept, "last").copied == 0
    swept.now += timedelta(days=1)
    assert all(len(places_of(record, "kept")) == 4 for record in swept.records())


def test_a_lost_staging_area_gets_its_excerpts_in_the_order_in_which_they_lie(
    swept: Swept, tapes: Tapes, tmp_path: Path, moves: list[tuple[str, int]]
) -> None:
    staging = tmp_path / "empty"
    Catalog.open(staging, write=True).close()
    fetched = fetch(staging, swept.destinations[0], swept.now)
    assert (len(fetched.copies), fetched.failed) == (NIGHTS, ())
    read = [move for move in moves if move[1] > 1]
    assert len(loaded(read)) == len(set(loaded(read)))
