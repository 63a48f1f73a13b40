"""What other programs keep: confirmed, counted, freed for, asked for, brought back, forgotten."""

from __future__ import annotations

import random
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.backup_set import from_catalog
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.confirming import Confirmation, all_kept, check_location, confirm, forget
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.history import ArchiveRecord, CopyRecord
from mailhaul.coordinator.keepsakes import keep_catalog_now
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.recalling import Recalled, RecallObserver, recall, to_recall
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.run_archives import renew_run_archives
from mailhaul.coordinator.settings import SweepRules
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import DamagedError, LockedError, NotFoundError, NotYetError, UsageError
from mailhaul.proto.records import CONFIRMED, STAGING, Location
from mailhaul.proto.structs import replace
from mailhaul.tests.staged_chains import STARTED, StagedChain
from mailhaul.tests.sweeping import Swept, directory, places_of
from mailhaul.worker.archives.names import generation_name
from mailhaul.worker.destinations.settings import Destination
from mailhaul.worker.staging.area import StagingArea

A_MAIL = b"Subject: a\r\n\r\n" + b"a" * 3000
B_MAIL = b"Subject: b\r\n\r\n" + b"b" * 3000
C_MAIL = b"Subject: c\r\n\r\n" + b"c" * 3000
NOW = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
TAPE = "LTO 000017"


class Site:
    """A chain of three runs, with what their end writes, and rules that let other programs' copies count."""

    def __init__(self, place: Path, destinations: tuple[Destination, ...] = ()) -> None:
        self.chain = StagedChain(place / "staging")
        self.staging = self.chain.staging
        self.runs = [
            self.chain.run({"anna": {"INBOX": (A_MAIL,)}, "ben": {"INBOX": (B_MAIL,)}}),
            self.chain.run({"anna": {"INBOX": (A_MAIL, C_MAIL)}}),
            self.chain.run({"anna": {"INBOX": (A_MAIL, C_MAIL), "Sent": (B_MAIL,)}}),
        ]
        with Catalog.open(self.staging) as catalog:
            renew_run_archives(self.staging, catalog)
        self.swept = Swept(
            self.chain,
            destinations,
            SweepRules(keep_staged_seconds=0, keep_newest=False),
            look_again_seconds=0,
        )

    def records(self) -> list[ArchiveRecord]:
        return self.swept.records()

    def confirm(self, *what: str, location: str = TAPE) -> Confirmation:
        return confirm(self.staging, what, location, self.swept.destinations, NOW)

    def recall(self, brought: Path | None = None) -> Recalled:
        """Recall everything; while it waits, ``brought`` is put under its name by somebody."""
        holdings = from_catalog(self.staging, "latest", [LogicalPath()]).archives
        told: list[str] = []

        def pause() -> bool:
            if brought is None or len(told) > 1:
                return False
            for file in brought.rglob("*.mha"):
                target = self.staging / file.relative_to(brought)
                shutil.copy(file, target)
            return True

        found = recall(
            StagingArea(path=str(self.staging)),
            holdings,
            to_recall(holdings, holdings.locations, far=False),
            local_engine(0),
            now=lambda: NOW,
            pause=pause,
            observer=RecallObserver(waiting=lambda _count, why: told.append(why)),
        )
        self.told = told
        return found

    def taken(self, place: Path) -> Path:
        """What a program has taken of the staging area."""
        return shutil.copytree(self.staging / "primary", place / "primary").parent


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_is_confirmed_counts_and_frees_staging_space(site: Site) -> None:
    with pytest.raises(UsageError, match="no destination"):
        site.swept.sweep()
    done = site.confirm(site.runs[0], site.runs[1])
    assert (len(done.confirmed), done.refused) == (2, ())
    copy = site.records()[0].copies[1]
    file = site.staging / site.records()[0].name
    assert (copy.place, copy.version, copy.state) == (CONFIRMED, TAPE, "kept")
    assert (copy.name, copy.size_bytes, len(copy.checksum)) == (
        site.records()[0].name,
        file.stat().st_size,
        32,
    )
    assert list(site.swept.sweep().freed) == [record.name for record in site.records()[:2]]
    assert [places_of(archive_record, "kept") for archive_record in site.records()] == [
        {CONFIRMED},
        {CONFIRMED},
        {STAGING},
    ]
    assert not any(one.missing for one in site.records())


def test_where_rules_name_places_both_must_count(tmp_path: Path) -> None:
    site = Site(tmp_path, (directory(tmp_path, "vault"),))
    site.swept.rules = SweepRules(copies=("vault", CONFIRMED), keep_staged_seconds=0, keep_newest=False)
    report = site.swept.sweep()
    assert [
        (destination.name, destination.copied, destination.in_order) for destination in report.destinations
    ] == [("vault", 3, True)]
    assert report.freed == ()
    site.confirm("latest")
    assert list(site.swept.sweep().freed) == [site.records()[2].name]


def test_a_later_confirmation_takes_the_place_of_an_earlier_one(site: Site) -> None:
    name = site.records()[0].name
    for what, location in ((name, "first"), (str(site.staging / name), "second")):
        site.confirm(what, location=location)
    site.confirm(site.records()[0].archive.hex()[:8], location="third")
    assert [(kept.name, kept.location, kept.last) for kept in all_kept(site.staging)] == [
        (name, "third", False)
    ]


def test_what_is_not_whole_or_not_at_hand_is_refused(site: Site) -> None:
    first, second, third = site.records()
    path = site.staging / first.name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (site.staging / second.name).unlink()
    done = site.confirm(*site.runs)
    assert [kept.archive for kept in done.confirmed] == [third.archive]
    assert [(skip.path, skip.reason) for skip in done.refused] == [
        (first.name, "damaged"),
        (second.name, "damaged"),
    ]
    site.swept.sweep()
    again = site.confirm(third.name)
    assert [(one.path, one.reason) for one in again.refused] == [(third.name, "not-at-hand")]
    assert places_of(site.records()[2], "kept") == {CONFIRMED}


def test_what_differs_from_its_other_copies_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, (directory(tmp_path, "vault"),))
    site.swept.sweep(to="vault")
    first = site.records()[0]
    (copy,) = (record for record in first.copies if record.place == "vault")
    with Catalog.open(site.staging, write=True) as catalog:
        catalog.put_copy(first.archive, replace(copy, checksum=bytes(32)))
    assert [(skip.path, skip.reason) for skip in site.confirm(first.name).refused] == [
        (first.name, "damaged")
    ]


def test_what_is_meant_has_to_be_clear(site: Site) -> None:
    name = site.records()[0].name
    with pytest.raises(UsageError, match="neither"):
        site.confirm("tape")
    with pytest.raises(NotFoundError):
        site.confirm("0" * 16)
    with pytest.raises(NotFoundError):
        site.confirm(f"{name.rpartition('.0.')[0]}.0.{'0' * 16}.mha")
    with pytest.raises(UsageError, match="one line"):
        check_location("a\nb")
    with pytest.raises(UsageError, match="one line"):
        check_location("  ")


def test_a_short_id_that_several_have_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = site.records()
    alike = [first, second]
    monkeypatch.setattr(Catalog, "archives", lambda *_: iter(alike * 2))
    with pytest.raises(UsageError, match="several ids"):
        site.confirm(first.archive.hex()[:8])


def test_a_run_that_goes_on_or_has_not_its_own_archive_is_refused(site: Site) -> None:
    with Catalog.open(site.staging, write=True) as catalog:
        run = site.runs[-1].replace("20260803", "20260804")
        catalog.begin_run(run, STARTED)  # type: ignore[arg-type]
    with pytest.raises(LockedError, match="goes on"):
        site.confirm(run)
    (file,) = site.staging.glob(f"_runs/*/{site.runs[0]}.*")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DamagedError, match="its own archive"):
        site.confirm(site.runs[0])
    file.unlink()
    with pytest.raises(DamagedError, match="its own archive"):
        site.confirm(site.runs[0])
    assert all_kept(site.staging) == ()


def test_what_was_written_anew_is_confirmed_by_its_own_name_only(site: Site) -> None:
    record = site.records()[0]
    site.confirm(record.name)
    name = generation_name(record.name, 1)
    shutil.copy(site.staging / record.name, site.staging / name)
    with Catalog.open(site.staging, write=True) as catalog:
        catalog.replace_archive(
            record.archive, name=name, size_bytes=record.size_bytes, generation=1, holes=(), references=()
        )
    assert [kept.outdated for kept in all_kept(site.staging)] == [True]
    assert site.swept.sweep().freed == (), "what was taken is not what is there now"
    assert [skip.reason for skip in site.confirm(site.runs[0]).refused] == ["rewritten"]
    for text in (record.name, record.archive.hex()[:12]):
        with pytest.raises(UsageError, match="written anew"):
            site.confirm(text)
    assert [one.name for one in site.confirm(name, location="LTO 2").confirmed] == [name]
    assert [(one.location, one.outdated) for one in all_kept(site.staging)] == [("LTO 2", False)]


def test_a_restore_is_told_what_to_bring_back_from_where(site: Site) -> None:
    site.confirm(*site.runs)
    site.swept.sweep()
    recalled = site.recall()
    assert recalled.now == ()
    for record, (archive, error) in zip(
        sorted(site.records(), key=lambda one: one.archive), recalled.failed, strict=True
    ):
        assert archive == record.archive
        assert isinstance(error, NotYetError)
        for told in (record.archive.hex()[:16], TAPE, str(site.staging / record.name)):
            assert told in error.message
            assert told in site.told[0]


def test_what_is_brought_back_is_taken_when_it_is_all_there_and_the_same(site: Site, tmp_path: Path) -> None:
    kept = site.taken(tmp_path / "tape")
    site.confirm(*site.runs)
    site.swept.sweep()
    half = site.staging / site.records()[0].name
    half.write_bytes((kept / site.records()[0].name).read_bytes()[:-20])
    assert len(site.recall().failed) == 3, "it is just being brought back"
    assert site.swept.sweep().damaged == ()
    half.unlink()
    recalled = site.recall(kept)
    assert (len(recalled.now), recalled.failed) == (3, ())
    assert all(places_of(record, "kept") == {STAGING, CONFIRMED} for record in site.records())
    assert len(site.swept.sweep().freed) == 3


def test_what_is_brought_back_and_is_something_else_is_not_taken(site: Site, tmp_path: Path) -> None:
    kept = site.taken(tmp_path / "tape")
    site.confirm(*site.runs)
    site.swept.sweep()
    first, second, _ = site.records()
    data = bytearray((kept / first.name).read_bytes())
    data[len(data) // 2] ^= 1
    (site.staging / first.name).write_bytes(data)
    assert [skip.path for skip in site.swept.sweep().damaged] == [first.name]
    failed = dict(site.recall().failed)
    assert "another file" in failed[first.archive].message
    assert places_of(site.records()[0], "kept") == {CONFIRMED}
    shutil.copy(kept / second.name, site.staging / second.name)
    site.swept.rules = SweepRules()
    site.swept.sweep()
    assert places_of(site.records()[1], "kept") == {STAGING, CONFIRMED}


def test_what_is_forgotten_counts_no_more_and_may_be_missing(site: Site) -> None:
    site.confirm(site.runs[0], site.runs[1])
    site.confirm(site.runs[2], location="LTO 2")
    site.swept.sweep()
    assert [kept.last for kept in forget(site.staging, (), "LTO 2")] == [True]
    assert [record.missing for record in site.records()] == [False, False, True]
    forget(site.staging, [site.records()[0].name], None)
    assert [archive_record.missing for archive_record in site.records()] == [True, False, True]
    with pytest.raises(NotFoundError, match="nothing such"):
        forget(site.staging, [site.records()[0].name], None)


def test_a_purge_tells_what_other_programs_keep_for_nobody(tmp_path: Path) -> None:
    """What it has let go of is forgotten; what it has written anew is not what was taken."""
    chain = StagedChain(tmp_path / "staging")
    first = chain.run({"anna": {"INBOX": (A_MAIL, *_random_mail(20))}})
    chain.run({"anna": {"INBOX": (A_MAIL, B_MAIL)}})
    chain.run({"ben": {"INBOX": (C_MAIL,)}, "anna": {"INBOX": (A_MAIL,)}})
    with Catalog.open(chain.staging) as catalog:
        renew_run_archives(chain.staging, catalog)
        names = {archive.run: archive.name for archive in catalog.archives()}
    confirm(chain.staging, list(chain.moments), TAPE, (), NOW)
    request = PurgeRequest(path=LogicalPath(), rules_of=lambda _: RetentionRules(last=1))
    report = purge(chain.staging, request, local_engine(0))
    assert [compacted.file for compacted in report.compacted] == [names[first]]
    assert [(location.name, location.version) for location in report.outdated] == [(names[first], TAPE)]
    assert [(one.name, one.version) for one in report.unneeded] == [
        (deleted.file, TAPE) for deleted in report.deleted
    ]
    assert report.deleted
    with Catalog.open(chain.staging) as catalog:
        assert catalog.discarded() == []
    assert {kept.name: kept.outdated for kept in all_kept(chain.staging)}[names[first]]
    again = purge(chain.staging, request, local_engine(0))
    assert (again.outdated, again.unneeded) == ((), ())


def test_a_sweep_tells_what_is_needed_no_more_once_the_new_file_counts(site: Site) -> None:
    record = site.records()[0]
    site.confirm(record.name)
    name = generation_name(record.name, 1)
    shutil.copy(site.staging / record.name, site.staging / name)
    with Catalog.open(site.staging, write=True) as catalog:
        catalog.replace_archive(
            record.archive, name=name, size_bytes=record.size_bytes, generation=1, holes=(), references=()
        )
        old = record.copies[0].name
        catalog.put_copy(
            record.archive,
            CopyRecord(place=CONFIRMED, name=name, version="new", generation=1, size_bytes=record.size_bytes),
        )
    report = site.swept.sweep()
    assert report.unneeded == (Location(CONFIRMED, old, TAPE),)
    assert [(kept.name, kept.location) for kept in all_kept(site.staging)] == [(name, "new")]
    assert site.swept.sweep().unneeded == ()


def _random_mail(count: int) -> list[bytes]:
    rng = random.Random(1)
    return [b"Subject: %d\n\n" % number + rng.randbytes(4000) for number in range(count)]


@pytest.mark.parametrize("every_archive", [False, True])
def test_a_rebuilt_catalog_knows_where_copies_are(tmp_path: Path, every_archive: bool) -> None:
    site = Site(tmp_path, (directory(tmp_path, "vault"),))
    site.swept.rules = SweepRules(copies=("vault", CONFIRMED), keep_staged_seconds=0, keep_newest=False)
    site.confirm(*site.runs)
    site.swept.sweep()
    gone = CopyRecord(
        place="vault", name="primary/user/20260101T000000Z-0000.0.0123456789abcdef.mha", size_bytes=7
    )
    with Catalog.open(site.staging, write=True) as catalog:
        catalog.discard_copy(site.records()[0].archive, gone)
    before = site.records()
    assert places_of(before[0], "kept") == {"vault", CONFIRMED}
    known = [
        # It may be another by now: it is looked at before anything relies on it.
        tuple(replace(copy, verified=None) if copy.place == "vault" else copy for copy in record.copies)
        for record in before
    ]
    report = rebuild_catalog(site.staging, every_archive=every_archive)
    assert (report.origin, report.missing) == ("", ())
    assert [one.copies for one in site.records()] == known
    with Catalog.open(site.staging) as catalog:
        (left,) = catalog.discarded()
    assert left.location == Location("vault", gone.name, "", 7)
    keep_catalog_now(site.staging)
    (site.staging / ".mailhaul" / "catalog.sqlite").unlink()
    rebuild_catalog(site.staging, every_archive=every_archive)
    assert [archive_record.copies for archive_record in site.records()] == known
    assert not list((site.staging / ".mailhaul").glob("*.base"))
