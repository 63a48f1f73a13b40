"""Locks at destinations: until when, how they are extended, and what comes free."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.history import CopyRecord
from mailhaul.coordinator.holds import Hold, add_hold, release
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeReport, PurgeRequest
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.settings import RetentionConfig, SweepRules
from mailhaul.coordinator.sweeping.record import last_sweeps
from mailhaul.coordinator.sweeping.strays import last_strays
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, AccessError
from mailhaul.proto.records import Location, RunId
from mailhaul.proto.structs import replace
from mailhaul.tests.locking import AHEAD, LockingStore, bucket, locking_store
from mailhaul.tests.staged_chains import STARTED, StagedChain
from mailhaul.tests.sweeping import Swept, places_of
from mailhaul.worker.archives.names import EXCERPTS
from mailhaul.worker.archives.ports import Copy

DAY = timedelta(days=1)
WEEKLY = RetentionConfig(rules=RetentionRules(daily=3, weekly=10))


def mail(number: int) -> bytes:
    return b"Subject: %d\r\n\r\n" % number + b"%d" % number * 3000


@pytest.fixture
def swept(tmp_path: Path) -> Swept:
    """Nights from Saturday to Monday, each with mail of its own: nothing of one is in the next."""
    chain = StagedChain(tmp_path / "staging")
    for night in range(3):
        chain.run({"anna": {"INBOX": (mail(night),)}})
    return Swept(chain, (bucket(tmp_path, "vault"),), SweepRules(copies=("vault",), keep_staged_seconds=0))


@pytest.fixture
def store(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> LockingStore:
    return locking_store(monkeypatch, lambda: swept.now)


def copies(swept: Swept) -> list[CopyRecord]:
    """The copy of each archive at the vault."""
    return [next(copy for copy in record.copies if copy.place == "vault") for record in swept.records()]


def purged(swept: Swept, rules: RetentionRules) -> PurgeReport:
    request = PurgeRequest(path=LogicalPath(), rules_of=lambda _: rules, compact_below=0.0)
    return purge(swept.chain.staging, request, local_engine(0))


def test_what_is_needed_is_locked_until_the_rules_let_go_of_it(swept: Swept, store: LockingStore) -> None:
    swept.retention = WEEKLY
    assert swept.sweep().exit_code == EXIT_OK
    first, second, third = (copy.locked_until for copy in copies(swept))
    now = swept.now
    assert first is not None
    assert second is not None
    assert f"{first.astimezone():%m-%d}" == "09-28", "the oldest, as the week that is not there yet"
    assert f"{second.astimezone():%m-%d}" == "10-05", "Sunday's is that of its week, for ten weeks"
    assert third == now + AHEAD, "the newest stays who knows how long"
    there = store.archives("vault")
    assert [there[record.name].locked_until for record in copies(swept)] == [first, second, third]


def test_locks_are_extended_when_half_of_them_is_over_and_not_before(
    swept: Swept, store: LockingStore
) -> None:
    swept.sweep()
    assert {copy.locked_until for copy in copies(swept)} == {swept.now + AHEAD}
    first = swept.now
    swept.now += AHEAD / 2 - 2 * timedelta(hours=1)
    asked = store.asked
    report = swept.sweep()
    assert {record.locked_until for record in copies(swept)} == {first + AHEAD}
    swept.now += timedelta(hours=2)
    report = swept.sweep()
    assert report.destinations[0].locks >= 3
    assert {copy_record.locked_until for copy_record in copies(swept)} == {swept.now + AHEAD}
    assert store.asked > asked
    asked = store.asked
    swept.sweep()
    assert store.asked == asked, "nothing is asked for what is locked"


def test_what_is_purged_is_told_stays_while_it_is_locked_and_goes_then(
    swept: Swept, store: LockingStore
) -> None:
    swept.sweep()
    until = swept.now + AHEAD
    assert swept.sweep().freed
    report = purged(swept, RetentionRules(last=1))
    (away,) = report.away
    gone = [deleted for deleted in report.deleted if not deleted.staged]
    assert len(gone) == 2
    assert report.free_bytes == 0, "they had left the staging area"
    assert (away.place, away.copies, away.size_bytes) == ("vault", 2, sum(one.size_bytes for one in gone))
    assert away.locked_until == until
    told = swept.sweep().destinations[0]
    assert told.removed == 0, "nobody asks before the day has come"
    assert len(store.archives("vault")) == 3
    with Catalog.open(swept.chain.staging) as catalog:
        assert catalog.copy_standing().leftovers == report.away
    swept.now = until + DAY
    told = swept.sweep().destinations[0]
    assert told.removed >= 2
    assert len(store.archives("vault")) == 1
    with Catalog.open(swept.chain.staging) as catalog:
        assert catalog.copy_standing().leftovers == ()
    assert not list((swept.chain.staging / EXCERPTS).rglob("*.mhx")), "nor does an excerpt stay"


def test_what_is_held_stays_locked_until_it_is_released(swept: Swept, store: LockingStore) -> None:
    add_hold(swept.chain.staging, Hold(path="/primary/user/anna", reason="case 42", since=swept.now))
    purged(swept, RetentionRules(last=1))
    swept.retention = RetentionConfig(rules=RetentionRules(last=1))
    for _ in range(8):
        swept.sweep()
        assert len(store.archives("vault")) == 3
        assert all(copy.locked_until >= swept.now + AHEAD / 2 for copy in copies(swept))  # type: ignore[operator]
        swept.now += 10 * DAY
    release(swept.chain.staging, LogicalPath.parse("/primary/user/anna"))
    purged(swept, RetentionRules(last=1))
    swept.now += AHEAD
    swept.sweep()
    assert len(store.archives("vault")) == 1


def test_a_server_that_does_not_lock_has_no_copy(swept: Swept, store: LockingStore) -> None:
    store.dropped = True
    report = swept.sweep()
    assert report.exit_code == EXIT_FAILED
    assert report.destinations[0].copied == 0
    assert all(not places_of(record, "copied") for record in swept.records())


def test_a_lock_that_was_dropped_is_told_and_set_again(swept: Swept, store: LockingStore) -> None:
    swept.sweep()
    files = store.files["vault"].files
    victim = copies(swept)[0].name
    for address, (copy, data) in list(files.items()):
        if copy.name == victim:
            files[address] = replace(copy, locked_until=None), data
    store.dropped = True
    report = swept.sweep()
    assert victim in {skip.path for skip in report.destinations[0].unlocked}
    assert report.exit_code == EXIT_SKIPPED
    assert copies(swept)[0].locked_until is None
    (told,) = last_sweeps(swept.chain.staging)
    assert "lock" in told.error
    store.dropped = False
    assert swept.sweep().exit_code == EXIT_OK
    assert copies(swept)[0].locked_until == swept.now + AHEAD


def test_what_lies_beside_is_locked_and_old_snapshots_go(swept: Swept, store: LockingStore) -> None:
    locked_snapshots = set()
    for night in range(3, 60):
        swept.chain.run({"anna": {"INBOX": (mail(night),)}})
        swept.now = STARTED + (night + 1) * DAY
        swept.sweep()
        swept.sweep()
        there = store.copies("vault")
        snapshots = [copy for name, copy in there.items() if name.endswith(".sqlite.gz")]
        safe = [
            snapshot for snapshot in snapshots if snapshot.locked_until and snapshot.locked_until > swept.now
        ]
        locked_snapshots |= {one.name for one in safe}
        assert safe, "one is locked all the time"
        assert len(snapshots) <= 3 + 3
        readme = there["README.txt"]
        assert readme.locked_until is not None
        assert readme.locked_until >= swept.now + AHEAD / 2
        tables = {name for name in there if name.endswith(".names.tsv.gz")}
        assert len(tables) == len(snapshots)
    assert len(locked_snapshots) <= 6, "not each that a sweep makes"


def test_sidecars_are_locked_as_long_as_their_archive_is_there_and_go_then(
    swept: Swept, store: LockingStore
) -> None:
    swept.sweep()
    names = {}
    for copy in copies(swept):
        digits = copy.name.split(".")[2]
        names[digits] = f"_keys/{digits[:2]}/{digits}.1.mhk"
        path = swept.chain.staging / names[digits]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"keys")
    swept.sweep()
    swept.sweep()
    there = store.copies("vault")
    for name in names.values():
        until = there[name].locked_until
        assert until is not None
        assert until >= swept.now + AHEAD / 2
    purged(swept, RetentionRules(last=1))
    left = {record.name.split(".")[2] for record in copies(swept)}
    assert 0 < len(left) < len(names)
    for digits, name in names.items():
        assert (swept.chain.staging / name).exists() == (digits in left), "a purge takes them away here"
    swept.sweep()
    assert set(names.values()) <= set(store.copies("vault")), "what is locked stays"
    swept.now += 2 * AHEAD
    swept.sweep()
    there = store.copies("vault")
    assert {digits for digits, name in names.items() if name in there} == left
    # One that came back from another place goes with the next purge.
    gone = next(digits for digits in names if digits not in left)
    (swept.chain.staging / names[gone]).write_bytes(b"keys")
    purged(swept, RetentionRules(last=1))
    assert not (swept.chain.staging / names[gone]).exists()


def test_who_may_not_remove_is_told_and_all_else_goes_on(swept: Swept, store: LockingStore) -> None:
    swept.sweep()
    purged(swept, RetentionRules(last=1))
    swept.now += 2 * AHEAD
    store.refuses = AccessError("vault: may not be removed")
    report = swept.sweep()
    assert report.exit_code == EXIT_OK
    assert "may not be removed" in report.destinations[0].refused[0].detail
    (told,) = last_sweeps(swept.chain.staging)
    assert "may not be removed" in told.refused
    store.refuses = None
    swept.sweep()
    assert len(store.archives("vault")) == 1


def test_a_copy_that_nobody_recorded_is_found_and_removed_if_it_was_purged(
    swept: Swept, store: LockingStore
) -> None:
    swept.sweep()
    dead, alive = copies(swept)[0], copies(swept)[2]
    with Catalog.open(swept.chain.staging, write=True) as catalog:
        for record in list(catalog.archives()):
            for copy in record.copies:
                if copy.name in (dead.name, alive.name) and copy.place == "vault":
                    catalog.drop_copy(record.archive, Location("vault", copy.name, copy.version))
    purged(swept, RetentionRules(last=2))
    foreign = dead.name.replace(dead.name.split(".")[2], "f" * 16)
    files = store.files["vault"].files
    files[foreign, "v99"] = Copy(name=foreign, size_bytes=0, version="v99"), b""
    swept.now += 7 * DAY
    swept.sweep()
    found = last_strays(swept.chain.staging, "vault")
    assert found is not None
    assert {stray.location.name for stray in found.found} == {dead.name, foreign}, "the other was found again"
    swept.now += 2 * AHEAD
    swept.sweep()
    there = store.archives("vault")
    assert dead.name not in there
    assert {alive.name, foreign} <= set(there), "nothing goes for being unknown"
    assert found.size_bytes > 0


def test_each_kept_moment_has_its_archives_locked_whatever_comes(swept: Swept, store: LockingStore) -> None:
    """No archive of a kept moment is ever locked for less than half of the time ahead."""
    swept.retention = RetentionConfig(rules=RetentionRules(daily=4, weekly=2))
    for night in range(3, 20):
        run = swept.chain.run({"anna": {"INBOX": (mail(night // 3),)}})
        swept.now = STARTED + night * DAY + timedelta(hours=5)
        purged(swept, swept.retention.rules)
        swept.sweep()
        with Catalog.open(swept.chain.staging) as catalog:
            needed = catalog.archives_kept()
            assert catalog.archives_at("primary", "user", RunId(run)) <= needed
        for record in swept.records():
            if record.archive in needed:
                for copy in record.copies:
                    if copy.place == "vault":
                        assert isinstance(copy.locked_until, datetime)
                        assert copy.locked_until >= swept.now + AHEAD / 2
