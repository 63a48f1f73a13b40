"""Sweeps of a staging area to directories: what lies there then, what is recorded, what is freed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.holds import Hold, add_holds
from mailhaul.coordinator.keepsakes import keep_catalog_now
from mailhaul.coordinator.settings import SweepRules
from mailhaul.coordinator.sweeping.locks import sweeping
from mailhaul.coordinator.sweeping.report import SweepObserver
from mailhaul.coordinator.sweeping.strays import last_strays
from mailhaul.proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, LockedError, UsageError
from mailhaul.proto.records import STAGING, Location
from mailhaul.proto.structs import replace
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.tests.sweeping import Swept, directory, files_at, places_of
from mailhaul.worker.archives.names import EXCERPTS, excerpt_name
from mailhaul.worker.destinations.directory import found_directory

A_MAIL = b"Subject: a\r\n\r\n" + b"a" * 3000
B_MAIL = b"Subject: b\r\n\r\n" + b"b" * 3000
C_MAIL = b"Subject: c\r\n\r\n" + b"c" * 3000


@pytest.fixture
def swept(tmp_path: Path) -> Swept:
    chain = StagedChain(tmp_path / "staging")
    chain.run({"anna": {"INBOX": (A_MAIL,)}, "ben": {"INBOX": (B_MAIL,)}})
    chain.run({"anna": {"INBOX": (A_MAIL, C_MAIL)}})
    chain.run({"anna": {"INBOX": (A_MAIL, C_MAIL), "Sent": (B_MAIL,)}})
    vault, disk = directory(tmp_path, "vault"), directory(tmp_path, "disk")
    return Swept(chain, (vault, disk), SweepRules(copies=("vault", "disk"), keep_staged_seconds=0))


def _staged(swept: Swept) -> dict[str, bytes]:
    """The archives in the staging area."""
    files = sorted(file for file in swept.chain.files() if not file.startswith(f"{EXCERPTS}/"))
    return {file: (swept.chain.staging / file).read_bytes() for file in files}


def test_archives_are_copied_count_after_a_later_look_and_leave_the_staging_area(swept: Swept) -> None:
    before = _staged(swept)
    assert len(before) == 3
    first = swept.sweep()
    assert first.exit_code == EXIT_OK
    assert [(report.name, report.copied) for report in first.destinations] == [("disk", 3), ("vault", 3)]
    for destination in swept.destinations:
        assert files_at(destination) == before  # type: ignore[arg-type]
    assert all(places_of(record, "copied") == {"vault", "disk"} for record in swept.records())
    assert first.freed == ()
    assert _staged(swept) == before

    second = swept.sweep()
    assert [
        (destination_report.copied, destination_report.looked) for destination_report in second.destinations
    ] == [(0, 3), (0, 3)]
    assert all(places_of(archive_record, "kept") >= {"vault", "disk"} for archive_record in swept.records())
    names = [one.name for one in swept.records()]
    assert list(second.freed) == names[:2], "the newest run stays"
    assert all((swept.chain.staging / excerpt_name(name)).exists() for name in names[:2])
    assert list(_staged(swept)) == names[2:]
    assert [places_of(one, "kept") for one in swept.records()] == [
        {"vault", "disk"},
        {"vault", "disk"},
        {"vault", "disk", STAGING},
    ]
    assert swept.sweep().freed == ()


def test_what_was_put_and_not_recorded_is_found_and_recorded_once(swept: Swept) -> None:
    swept.sweep()
    with Catalog.open(swept.chain.staging, write=True) as catalog:
        for record in list(catalog.archives()):
            for copy in record.copies[1:]:
                catalog.drop_copy(record.archive, Location(copy.place, copy.name, copy.version))
    before = [files_at(destination) for destination in swept.destinations]  # type: ignore[arg-type]
    report = swept.sweep()
    assert [destination_report.copied for destination_report in report.destinations] == [3, 3]
    assert [files_at(one) for one in swept.destinations] == before  # type: ignore[arg-type]
    assert all(len(archive_record.copies) == 3 for archive_record in swept.records())


def test_a_copy_that_vanished_is_told_and_copied_again_and_nothing_is_freed_for_it(swept: Swept) -> None:
    swept.sweep()
    vault = swept.destinations[0]
    gone = swept.records()[0].name
    (Path(vault.path) / gone).unlink()  # type: ignore[union-attr]
    report = swept.sweep()
    told = {destination.name: destination for destination in report.destinations}["vault"]
    assert (told.lost, told.looked, told.copied) == ([gone], 2, 1)
    assert report.exit_code == EXIT_SKIPPED
    assert gone not in report.freed
    assert gone in _staged(swept)
    assert gone in files_at(vault)  # type: ignore[arg-type]
    assert places_of(swept.records()[0], "copied") == {"vault"}
    assert gone in swept.sweep().freed


def test_a_copy_that_vanished_after_it_counted_is_missed_before_staging_is_freed(swept: Swept) -> None:
    later = swept.with_rules(keep_staged_seconds=5 * 86400)
    later.sweep()
    later.sweep()
    gone = later.records()[0].name
    (Path(later.destinations[0].path) / gone).unlink()  # type: ignore[union-attr]
    later.now = later.now.replace(day=20)
    report = later.sweep()
    assert gone not in report.freed
    assert {destination.name: destination.lost for destination in report.destinations}["vault"] == [gone]
    assert gone in _staged(later)


def test_nothing_is_freed_for_copies_at_a_place_that_was_taken_out_of_the_configuration(
    swept: Swept,
) -> None:
    """No restore would read them there."""
    vault, disk = swept.destinations
    before = replace(swept, rules=SweepRules(copies=("vault",)))  # they stay in the staging area, too
    before.sweep()
    before.sweep()
    staged = _staged(swept)
    after = replace(before, destinations=(disk,), rules=SweepRules(keep_staged_seconds=0, keep_newest=False))
    assert after.sweep().freed == ()
    assert _staged(swept) == staged
    assert len(replace(after, destinations=(vault, disk)).sweep().freed) == len(staged)


def test_a_destination_that_is_gone_is_told_and_the_others_go_on(swept: Swept) -> None:
    vault, disk = swept.destinations
    Path(vault.path).rename(f"{vault.path}-gone")  # type: ignore[union-attr]
    report = swept.sweep()
    told = {destination.name: destination for destination in report.destinations}
    assert told["vault"].stopped is not None
    assert told["vault"].stopped.reason == "place-unavailable"
    assert told["disk"].copied == 3
    assert report.exit_code == EXIT_SKIPPED
    Path(f"{vault.path}-gone").rename(vault.path)  # type: ignore[union-attr]
    assert swept.sweep().exit_code == EXIT_OK
    assert files_at(vault) == files_at(disk)  # type: ignore[arg-type]


def test_where_no_destination_is_there_a_sweep_has_failed(swept: Swept) -> None:
    for destination in swept.destinations:
        Path(destination.path).rename(f"{destination.path}-gone")  # type: ignore[union-attr]
    assert swept.sweep().exit_code == EXIT_FAILED
    assert len(_staged(swept)) == 3


def test_a_destination_of_another_staging_area_is_not_written(swept: Swept, tmp_path: Path) -> None:
    other = directory(tmp_path, "other")
    found_directory(other.path, "another")
    swept.destinations = (other,)
    swept.rules = SweepRules(copies=("other",))
    report = swept.sweep()
    assert report.exit_code == EXIT_FAILED
    assert report.destinations[0].stopped is not None
    assert "another staging area" in report.destinations[0].stopped.detail
    assert files_at(other) == {}


def test_a_damaged_archive_is_told_and_not_copied(swept: Swept) -> None:
    record = swept.records()[0]
    path = swept.chain.staging / record.name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    report = swept.sweep()
    assert report.exit_code == EXIT_DAMAGED
    assert [skip.path for skip in report.damaged] == [record.name]
    for destination in swept.destinations:
        assert record.name not in files_at(destination)  # type: ignore[arg-type]
    assert [destination_report.copied for destination_report in report.destinations] == [2, 2]


def test_what_was_damaged_since_its_first_copy_is_not_copied_as_if_it_were_the_same(swept: Swept) -> None:
    swept.sweep(to="vault")
    record = swept.records()[0]
    path = swept.chain.staging / record.name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    report = swept.sweep()
    assert [skip.path for skip in report.damaged] == [record.name]
    assert record.name not in files_at(swept.destinations[1])  # type: ignore[arg-type]


def test_what_is_held_stays_in_the_staging_area(swept: Swept) -> None:
    swept.sweep()
    records = swept.records()
    add_holds(swept.chain.staging, [Hold(run=records[1].run, since=swept.now)])
    assert list(swept.sweep().freed) == [records[0].name]
    add_holds(swept.chain.staging, [Hold(path="/primary/user/ben", since=swept.now)])
    assert records[1].name in _staged(swept)


def test_what_is_held_for_a_restore_may_leave_the_staging_area(swept: Swept) -> None:
    """That a restore can be taken back for thirty days keeps no archives there: any copy serves."""
    swept.sweep()
    records = swept.records()
    of_restore = Hold(run=records[1].run, since=swept.now, automatic=True, restore="20261129T120000Z-abcd")
    add_holds(swept.chain.staging, [of_restore])
    assert {records[0].name, records[1].name} <= set(swept.sweep().freed)


def test_one_sweep_at_a_time_for_a_destination(swept: Swept) -> None:
    with sweeping(swept.chain.staging, "vault"):
        report = swept.sweep()
        told = {destination.name: destination for destination in report.destinations}
        assert told["vault"].stopped is not None
        assert told["vault"].stopped.reason == "locked"
        assert told["disk"].copied == 3
        with sweeping(swept.chain.staging, "disk"), pytest.raises(LockedError):
            swept.sweep()


def test_an_archive_that_was_freed_and_not_deleted_is_found_and_freed_again(swept: Swept) -> None:
    swept.sweep()
    record = swept.records()[0]
    data = (swept.chain.staging / record.name).read_bytes()
    swept.sweep()
    (swept.chain.staging / record.name).write_bytes(data)
    assert list(swept.sweep().freed) == [record.name]
    assert record.name not in _staged(swept)


def test_what_came_back_stays_as_long_as_if_it_were_new(swept: Swept) -> None:
    swept = swept.with_rules(keep_staged_seconds=2 * 86400)
    swept.sweep()
    record = swept.records()[0]
    data = (swept.chain.staging / record.name).read_bytes()
    assert record.name in swept.sweep().freed
    (swept.chain.staging / record.name).write_bytes(data)
    assert swept.sweep().freed == (), "it is old, and came back just now"
    assert places_of(swept.records()[0], "kept") == {"vault", "disk", STAGING}
    swept.now += timedelta(days=1)
    assert record.name not in swept.sweep().freed
    swept.now += timedelta(days=1)
    assert record.name in swept.sweep().freed


def test_a_path_selects_groups_and_unknown_names_are_refused(swept: Swept) -> None:
    assert [destination.copied for destination in swept.sweep(path="/primary/other").destinations] == [0, 0]
    with pytest.raises(UsageError, match="group"):
        swept.sweep(path="/primary/user/anna")
    with pytest.raises(UsageError, match="no destination 'tape'"):
        swept.sweep(to="tape")


def test_a_place_that_has_nothing_was_looked_at_too(tmp_path: Path) -> None:
    chain = StagedChain(tmp_path / "staging")
    swept = Swept(chain, (directory(tmp_path, "vault"),), SweepRules(copies=("vault",)))
    assert swept.sweep().exit_code == EXIT_OK
    told = last_strays(chain.staging, "vault")
    assert told is not None
    assert (told.looked, told.found) == (swept.now, ())


class _Replaced(SweepObserver):
    """Before anything is copied, a run ends: its snapshot of the catalog takes the place of that of
    before."""

    def __init__(self, chain: StagedChain) -> None:
        self._chain = chain
        self.gone: list[str] = []

    def copying(self, batches: Mapping[str, int]) -> None:
        before = {path.name for path in self._chain.staging.glob("_catalog/*")}
        self._chain.run({"anna": {"INBOX": (A_MAIL,)}})
        keep_catalog_now(self._chain.staging)
        for one in sorted(before):
            (self._chain.staging / "_catalog" / one).unlink(missing_ok=True)
            self.gone.append(one)


def test_a_snapshot_that_a_run_replaces_meanwhile_is_no_damage(swept: Swept) -> None:
    keep_catalog_now(swept.chain.staging)
    observer = _Replaced(swept.chain)
    report = swept.sweep(observer=observer)
    assert observer.gone, "there was a snapshot"
    assert (report.damaged, report.exit_code) == ((), EXIT_OK)
    there = {path.name for path in (Path(swept.destinations[0].path) / "_catalog").glob("*")}  # type: ignore[union-attr]
    assert there.isdisjoint(observer.gone)
    swept.sweep()
    there = {one.name for one in (Path(swept.destinations[0].path) / "_catalog").glob("*")}  # type: ignore[union-attr]
    assert there, "the next sweep copies what took its place"
