"""Archives that have left the staging area: nights go on without them, restores read them where they are, and
a recall brings them back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.backup_set import BackupSet, from_catalog
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.recalling import Recalled, RecallObserver, recall
from mailhaul.coordinator.restoration import run_tasks
from mailhaul.coordinator.restore_plan import plan_restore
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import ArchiveId, Partition, RestoreReport
from mailhaul.worker.archives.names import excerpt_name
from mailhaul.worker.destinations.settings import Destination
from mailhaul.worker.staging.area import StagingArea

from ..maildirs import Maildir
from ..swept import copy_out, free, vault
from ..trees import differences, snapshot
from .command import Mailhaul

ALL = LogicalPath.parse("/")


class Site:
    """A store of two mailboxes, its staging area and two directories as destinations."""

    def __init__(self, place: Path) -> None:
        self.store = place / "store"
        self.mailhaul = Mailhaul(place)
        self.staging = self.mailhaul.staging
        self.near, self.far = (f"directory:{place / name}" for name in ("near", "far"))
        self.vaults: list[Destination] = [
            vault(place / "near", self.near),
            vault(place / "far", self.far),
        ]
        self._place = place
        self._random = random.Random(4)
        self._boxes = {user: Maildir(self.store / user) for user in ("anna", "ben")}
        self._delivered = 0

    def deliver(self, user: str, messages: int = 1) -> None:
        for _ in range(messages):
            self._delivered += 1
            content = b"Subject: %d\n\n" % self._delivered + self._random.randbytes(40_000)
            self._boxes[user].message(f"{self._delivered}.M1P1.host:2,S", content)

    def night(self) -> int:
        """Back up; how many messages were read."""
        report = self.mailhaul.run(
            None, "backup", "--store", f"maildir:{self.store}", "--staging", self.staging
        )
        read: int = report["read"]
        return read

    def backup(self, only: str | None = None) -> BackupSet:
        return from_catalog(self.staging, "latest", [ALL], self.vaults, only)

    def restore(self, only: str | None = None) -> RestoreReport:
        """Restore all into a new place; what is restored has to be as it was stored."""
        target = self._place / "restored" / str(len(list(self._place.glob("restored/*"))))
        partition = Partition(name="primary", format="maildir", path=str(target))
        plan = plan_restore(self.backup(only), [ALL], {"primary": partition}, as_user=None, workers=1)
        report = run_tasks(plan.tasks, local_engine(0), lambda _: None)
        if not (report.damaged or report.skipped):
            assert differences(snapshot(self.store), snapshot(target)) == []
        return report

    def recall(self, archives: Sequence[ArchiveId], only: str | None = None) -> Recalled:
        return recall(
            StagingArea(path=str(self.staging)),
            self.backup(only).archives,
            archives,
            local_engine(0),
            now=lambda: datetime.now(UTC),
            pause=lambda: False,
            observer=RecallObserver(),
        )

    def names(self) -> dict[ArchiveId, str]:
        with Catalog.open(self.staging) as catalog:
            return {archive.archive: archive.name for archive in catalog.archives()}

    def copy_of(self, archive: ArchiveId, number: int = 0) -> Path:
        return self._place / ("near", "far")[number] / self.names()[archive]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    for night in range(3):
        made.deliver("anna", 3)
        made.deliver("ben", 1 if night else 4)
        made.night()
    return made


def test_nights_and_browsing_go_on_from_excerpts(site: Site) -> None:
    copy_out(site.staging, *site.vaults)
    free(site.staging)
    assert not list(site.staging.glob("primary/*/*.mha"))
    site.deliver("anna")
    assert site.night() == 1, "what is stored is known from the excerpts"
    assert site.night() == 0
    found = site.mailhaul.run(None, "find", "--subject", "3", "--staging", site.staging)
    assert found["messages"]
    listed = site.mailhaul.run(None, "ls", "/primary/user/anna", "--staging", site.staging)
    assert listed


def test_metadata_that_is_lost_is_missed_and_made_again_from_a_destination(site: Site) -> None:
    copy_out(site.staging, *site.vaults)
    free(site.staging)
    excerpts = {path: path.read_bytes() for path in site.staging.glob("_metadata/*/*/*.mhx")}
    assert len(excerpts) == 3
    for path in excerpts:
        path.unlink()
    site.mailhaul.run(
        None, "catalog rebuild", "--from", site.near, "--destination", site.near, "--staging", site.staging
    )
    assert {path: path.read_bytes() for path in excerpts} == excerpts
    site.deliver("anna")
    assert site.night() == 1
    for path in site.staging.glob("_metadata/*/*/*.mhx"):
        path.unlink()
    report = site.mailhaul.run(
        None, "backup", "--store", f"maildir:{site.store}", "--staging", site.staging, status=3
    )
    assert [alarm["reason"] for alarm in report["alarms"]] == ["archive-missing"]
    assert report["read"] > 1, "stored anew"
    assert site.restore().restored == 16


def test_a_restore_reads_where_the_archives_are(site: Site) -> None:
    copy_out(site.staging, *site.vaults)
    free(site.staging)
    report = site.restore()
    assert (report.restored, report.damaged, report.skipped) == (15, (), ())
    for only in (site.near, site.far):
        assert site.restore(only).restored == 15


def test_each_copy_alone_is_enough(site: Site, tmp_path: Path) -> None:
    copy_out(site.staging, *site.vaults)
    free(site.staging)
    for path in site.staging.glob("_metadata/*/*/*"):
        path.unlink()
    for path in (tmp_path / "near").glob("*/*/*.mha"):
        path.unlink()
    assert site.restore().restored == 15


def test_what_is_damaged_in_one_copy_comes_from_another(site: Site) -> None:
    copy_out(site.staging, *site.vaults)
    first, *_ = free(site.staging)
    copy = site.copy_of(first)
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.chmod(0o600)
    copy.write_bytes(data)
    assert site.restore().restored == 15
    assert site.restore(site.near).damaged
    other = site.copy_of(first, 1)
    other.chmod(0o600)
    other.write_bytes(data)
    assert site.restore().damaged


def test_a_recall_brings_back_what_was_put_there(site: Site, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in site.staging.glob("primary/*/*.mha")}
    copy_out(site.staging, *site.vaults)
    freed = free(site.staging)
    recalled = site.recall(freed)
    assert (sorted(dict(recalled.now)), recalled.failed) == (sorted(freed), ())
    assert recalled.size_bytes == sum(map(len, before.values()))
    assert {path.name: path.read_bytes() for path in site.staging.glob("primary/*/*.mha")} == before
    again = site.recall(freed)
    assert (sorted(dict(again.now)), again.size_bytes) == (sorted(freed), 0)
    site.vaults.clear()
    assert site.restore().restored == 15


def test_a_copy_that_was_changed_is_not_taken_back_and_counts_no_more(site: Site) -> None:
    copy_out(site.staging, *site.vaults)
    first, second, *_ = free(site.staging)
    copy = site.copy_of(first)
    copy.chmod(0o600)
    copy.write_bytes(copy.read_bytes()[:-5] + b"12345")
    site.copy_of(second).unlink()
    recalled = site.recall([first, second])
    assert (sorted(dict(recalled.now)), recalled.failed) == (sorted((first, second)), ())
    with Catalog.open(site.staging) as catalog:
        for archive in (first, second):
            states = {record.place: record.state for record in catalog.archive(archive).copies}
            assert states == {"staging": "kept", site.near: "lost", site.far: "kept"}


def test_without_any_copy_it_is_told(site: Site) -> None:
    copy_out(site.staging, site.vaults[0])
    first, *others = free(site.staging)
    site.copy_of(first).unlink()
    recalled = site.recall([first, *others])
    assert sorted(dict(recalled.now)) == sorted(others)
    ((archive, error),) = recalled.failed
    assert (archive, error.facts["reason"]) == (first, "missing")
    with Catalog.open(site.staging) as catalog:
        assert catalog.archive(first).missing
    assert site.staging.joinpath(excerpt_name(site.names()[first])).exists()


def test_of_a_destination_that_is_not_configured_nothing_is_read(site: Site) -> None:
    copy_out(site.staging, *site.vaults)
    free(site.staging)
    site.vaults.clear()
    report = site.restore()
    assert report.restored == 0
    assert len(report.skipped) + len(report.damaged) == 15


class TestAsACommand:
    """As the postmaster types it."""

    def options(self, site: Site) -> list[str | Path]:
        return ["--staging", site.staging, "--destination", site.near, "--destination", site.far]

    def test_a_restore_from_where_the_archives_are(self, site: Site, tmp_path: Path) -> None:
        copy_out(site.staging, *site.vaults)
        free(site.staging)
        for number, more in enumerate(([], ["--from", site.near], ["--from", site.far])):
            target = tmp_path / f"target{number}"
            report = site.mailhaul.run(
                None, "restore", "/", *self.options(site), "--to", f"maildir:{target}", *more
            )
            assert report["restored"] == 15
            assert differences(snapshot(site.store), snapshot(target)) == []

    def test_the_plan_says_where_it_lies(self, site: Site, tmp_path: Path) -> None:
        copy_out(site.staging, *site.vaults)
        free(site.staging)
        to = ("--to", f"maildir:{tmp_path / 'target'}")
        plan = site.mailhaul.run(None, "restore", "/", "--dry-run", *self.options(site), *to)
        assert {one["file"] for one in plan["needs"]} == {
            f"{site.near}:{name}" for name in site.names().values()
        }
        assert plan["missing"] == []

    def test_a_recall(self, site: Site, tmp_path: Path) -> None:
        copy_out(site.staging, *site.vaults)
        free(site.staging)
        done = site.mailhaul.run(None, "recall", "/primary/user/anna", *self.options(site))
        assert sorted(done["archives"]) == sorted(site.names().values())
        assert done["size_bytes"] == sum(path.stat().st_size for path in site.staging.glob("primary/*/*.mha"))
        target = tmp_path / "target"
        report = site.mailhaul.run(
            None, "restore", "/", "--staging", site.staging, "--to", f"maildir:{target}"
        )
        assert report["restored"] == 15

    def test_a_destination_that_there_is_not(self, site: Site, tmp_path: Path) -> None:
        to = ("--to", f"maildir:{tmp_path / 'target'}")
        told = site.mailhaul.run(
            None, "restore", "/", *self.options(site), "--from", "elsewhere", *to, status=2
        )
        assert "elsewhere" in told["error"]["message"]

    def test_a_disk_that_is_not_mounted(self, site: Site, tmp_path: Path) -> None:
        """It is told as that, not as damage; from the other copy all can be had."""
        copy_out(site.staging, *site.vaults)
        free(site.staging)
        (tmp_path / "near").rename(tmp_path / "unmounted")
        target = tmp_path / "target"
        options = (*self.options(site), "--to", f"maildir:{target}")
        assert site.mailhaul.run(None, "restore", "/", *options)["restored"] == 15
        (tmp_path / "far").rename(tmp_path / "unmounted too")
        again = (*self.options(site), "--to", f"maildir:{tmp_path / 'again'}")
        told = site.mailhaul.run(None, "restore", "/", *again, status=1)
        assert told["damaged"] == []
        assert {skip["reason"] for skip in told["skipped"]} == {"place-unavailable"}
        assert told["restored"] == 0


class TestVerification:
    def options(self, site: Site) -> list[str | Path]:
        return ["--staging", site.staging, "--destination", site.near, "--destination", site.far]

    def test_what_has_left_the_staging_area_is_not_missed_there(self, site: Site) -> None:
        copy_out(site.staging, *site.vaults)
        free(site.staging)
        for options in ([], ["--data"]):
            report = site.mailhaul.run(None, "verify", *options, *self.options(site))
            assert (report["damaged"], report["affected"]) == ([], [])

    def test_copies_are_read_where_they_are_the_oldest_first(self, site: Site) -> None:
        copy_out(site.staging, *site.vaults)
        near = ("--from", site.near, *self.options(site))
        assert site.mailhaul.run(None, "verify", *near)["whole"] == 3
        assert site.mailhaul.run(None, "verify", *near, "--older-than", "1h")["whole"] == 0
        assert site.mailhaul.run(None, "verify", *near, "--older-than", "0s")["whole"] == 3
        assert site.mailhaul.run(None, "verify", *self.options(site), "--from", site.far)["whole"] == 3

    def test_a_copy_that_is_damaged_or_gone_counts_no_more(self, site: Site) -> None:
        copy_out(site.staging, *site.vaults)
        first, second, *_ = site.names()
        damaged = site.copy_of(first)
        damaged.chmod(0o600)
        damaged.write_bytes(damaged.read_bytes()[:-5] + b"12345")
        site.copy_of(second).unlink()
        told = site.mailhaul.run(None, "verify", "--from", site.near, *self.options(site), status=4)
        assert told["whole"] == 1
        assert {one["reason"] for one in told["damaged"]} == {"checksum", "missing"}
        with Catalog.open(site.staging) as catalog:
            states = {
                name: {copy.place: copy.state for copy in catalog.archive(name).copies}
                for name in site.names()
            }
        assert [states[archive_id][site.near] for archive_id in (first, second)] == ["lost", "lost"]
        assert {state[site.far] for state in states.values()} == {"kept"}

    def test_a_destination_that_is_away_is_no_damage(self, site: Site, tmp_path: Path) -> None:
        copy_out(site.staging, *site.vaults)
        (tmp_path / "near").rename(tmp_path / "unmounted")
        told = site.mailhaul.run(None, "verify", "--from", site.near, *self.options(site), status=1)
        assert (told["whole"], told["damaged"]) == (0, [])
        assert {one["reason"] for one in told["not_read"]} == {"place-unavailable"}
        with Catalog.open(site.staging) as catalog:
            assert {copy.state for archive in catalog.archives() for copy in archive.copies} == {"kept"}
