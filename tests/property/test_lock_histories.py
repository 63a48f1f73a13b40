"""Histories of runs, purges, holds, releases and sweeps, some of which are killed, over a place that locks.

What a kept moment or a hold needs can't be removed before half of the time ahead is over; nothing is locked
for longer than the rules foresaw, or than the time ahead after it was needed last; nothing that is needed is
deleted, and in the end nothing lies there that nobody needs.
"""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.holdings import holdings
from mailhaul.coordinator.holds import Hold, add_hold, read_holds, release
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.retention import RetentionRules, lasting
from mailhaul.coordinator.settings import RetentionConfig, SweepRules
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import BackupError, LockedUntilError
from mailhaul.proto.records import ArchiveId, RunId
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.destinations.registry import open_destination
from mailhaul.worker.destinations.settings import Destination
from mailhaul.worker.staging.area import StagingArea

from ..locking import AHEAD, Killed, LockingStore, bucket, locking_store
from ..staged_chains import STARTED, StagedChain, State
from ..sweeping import Swept

STEPS = 40
DAY = timedelta(days=1)
USERS = ("anna", "ben")
SECOND = timedelta(seconds=1)


class SweptChain(StagedChain):
    """A chain that is read wherever its archives lie."""

    destinations: tuple[Destination, ...] = ()

    def _holdings(self, catalog: Catalog) -> Holdings:
        return holdings(catalog, StagingArea(path=str(self.staging)), self.destinations)


class LockHistory:
    def __init__(self, place: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rng = random.Random(seed)
        self.chain = SweptChain(place / "staging")
        self.chain.destinations = (bucket(place, "vault"), bucket(place, "disk", locks=False))
        self.rules = self.rng.choice(
            [
                RetentionRules(last=2),
                RetentionRules(daily=3, weekly=2),
                RetentionRules(daily=2, monthly=3),
                RetentionRules(last=1, weekly=9),
            ]
        )
        rules = SweepRules(copies=("vault", "disk"), keep_staged_seconds=0, keep_newest=False)
        self.swept = Swept(self.chain, self.chain.destinations, rules, now=STARTED)
        self.swept.retention = RetentionConfig(rules=self.rules)
        self.store: LockingStore = locking_store(monkeypatch, lambda: self.swept.now)
        self.state: State = {}
        self.most: dict[str, datetime] = {}  # until when the copies of an archive may be locked at most
        self.safe: dict[ArchiveId, datetime] = {}  # before then what a sweep has locked can't be removed
        self.killed = self.refused = self.removed = 0

    @property
    def today(self) -> int:
        return (self.swept.now - STARTED).days

    def night(self) -> None:
        """The next day has come, and its run is over."""
        self.swept.now = max(self.swept.now, STARTED) + DAY
        self.chain.days_off = self.today - len(self.chain.moments)
        for user in USERS:
            if self.rng.random() < 0.7:
                mail = self.state.get(user, {}).get("INBOX", ())
                kept = tuple(one for one in mail if self.rng.random() < 0.7)
                self.state = {**self.state, user: {"INBOX": (*kept, self.rng.randbytes(2000))}}
        self.chain.run(self.state)

    def sweep(self) -> None:
        report = self.swept.sweep()
        assert all(destination.in_order for destination in report.destinations), report
        self.removed += sum(destination_report.removed for destination_report in report.destinations)
        needed = self.needed()
        for record in self.swept.records():
            for copy in record.copies:
                if copy.place == "vault":
                    there = self.store.files["vault"].files[copy.name, copy.version][0]
                    assert copy.locked_until == there.locked_until
                    if record.archive in needed:
                        assert there.locked_until is not None
                        assert there.locked_until >= self.swept.now + AHEAD / 2, "at least so long"
                        self.safe[record.archive] = self.swept.now + AHEAD / 2

    def kill(self) -> None:
        """A sweep is killed."""
        self.store.calls_to_live = self.rng.randrange(1, 40)
        try:
            self.swept.sweep()
        except Killed:
            self.killed += 1
        self.store.calls_to_live = None

    def purge(self) -> None:
        request = PurgeRequest(path=LogicalPath(), rules_of=lambda _: self.rules, compact_below=0.5)
        purge(self.chain.staging, request, local_engine(0))

    def hold(self) -> None:
        if self.rng.random() < 0.5 and self.chain.moments:
            with Catalog.open(self.chain.staging) as catalog:
                kept = [moment.run for moment in catalog.moments("primary", "user")]
            held = Hold(run=RunId(self.rng.choice(kept)), since=self.swept.now)
        else:
            held = Hold(path=f"/primary/user/{self.rng.choice(USERS)}", since=self.swept.now)
        add_hold(self.chain.staging, held)

    def release(self) -> None:
        for hold in read_holds(self.chain.staging).all:
            if self.rng.random() < 0.5:
                release(self.chain.staging, hold.run or LogicalPath.parse(hold.path or "/"))

    def wait(self) -> None:
        self.swept.now += self.rng.choice([1, 3, 9, 14]) * DAY

    def attack(self) -> None:
        """Somebody has the key and tries to remove all that is needed."""
        needed = self.needed()
        place = open_destination(self.chain.destinations[0])
        for record in self.swept.records():
            if record.archive in needed and self.swept.now < self.safe.get(record.archive, STARTED):
                for copy in record.copies:
                    if copy.place == "vault":
                        with pytest.raises(LockedUntilError):
                            place.remove(copy.name, copy.version)
                        self.refused += 1

    def needed(self) -> set[ArchiveId]:
        """What a version that is kept needs: told by the history of each mailbox, one by one."""
        with Catalog.open(self.chain.staging) as catalog:
            told = {history.archive for history in catalog.histories() if history.archive is not None}
            others = catalog.references(told)
        return {*told, *(other for named in others.values() for other in named)}

    def note_bounds(self) -> None:
        """Until when locks may last that are set now."""
        needed = self.needed()
        ends: dict[ArchiveId, datetime] = {}
        with Catalog.open(self.chain.staging) as catalog:
            moments = catalog.moments("primary", "user")
            for run, end in lasting(moments, self.rules, self.swept.now).items():
                told = {mailbox.archive for mailbox in catalog.mailboxes_at(run)}
                for named in (told, *catalog.references(told).values()):
                    for archive in named:
                        ends[archive] = max(end, ends.get(archive, end))
        for archive in needed:
            until = max(self.swept.now + 2 * timedelta(hours=1) + AHEAD, ends.get(archive, self.swept.now))
            digits = archive.hex()[:16]
            self.most[digits] = max(until, self.most.get(digits, until))

    def check(self) -> None:
        """No lock is longer than it may be; what the catalog knows is there."""
        there = self.store.archives("vault") if "vault" in self.store.files else {}
        for name, one in there.items():
            if one.locked_until is not None:
                assert one.locked_until <= self.most[name.split(".")[2]] + SECOND, name
        for record in self.swept.records():
            for copy in record.copies:
                if copy.place in self.store.files and copy.state != "lost":
                    assert (copy.name, copy.version) in self.store.files[copy.place].files

    def end(self) -> None:
        """Nothing is held any more: what nobody needs goes, all else stays and can be read."""
        for hold in read_holds(self.chain.staging).all:
            with suppress(BackupError):
                release(self.chain.staging, hold.run or LogicalPath.parse(hold.path or "/"))
        self.purge()
        last = max(self.most.values(), default=self.swept.now) + 3 * DAY
        while self.swept.now < last:
            self.note_bounds()
            self.sweep()
            self.check()
            self.swept.now += 7 * DAY
        for _ in range(2):
            self.sweep()
            self.swept.now += 8 * DAY
        self.sweep()
        for place in ("vault", "disk"):
            known = {
                copy.name for record in self.swept.records() for copy in record.copies if copy.place == place
            }
            assert set(self.store.archives(place)) == known
        with Catalog.open(self.chain.staging) as catalog:
            moments = [moment.run for moment in catalog.moments("primary", "user")]
        assert moments
        for run in moments:
            assert self.chain.read(run) == self.chain.moments[run]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_needed_is_locked_and_nothing_else_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, rounds: int
) -> None:
    killed = refused = removed = 0
    for number in range(max(1, rounds // 100)):
        history = LockHistory(tmp_path / str(number), seed * 1000 + number, monkeypatch)
        history.night()
        steps = [
            *(history.night, history.night, history.night, history.sweep, history.sweep, history.kill),
            *(history.purge, history.purge, history.hold, history.release, history.wait, history.attack),
        ]
        last = [history.night, history.kill, history.sweep, history.attack, history.night, history.night]
        for step in (*(history.rng.choice(steps) for _ in range(STEPS)), *last):
            history.note_bounds()
            step()
            history.note_bounds()
            history.check()
        history.end()
        killed += history.killed
        refused += history.refused
        removed += history.removed
    assert killed
    assert refused
    assert removed
