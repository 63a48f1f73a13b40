"""Histories of runs with mail that several people have, purges, sweeps to a directory, a bucket that locks
and tape, rebuilds of the catalog, old copies that come back, and erasures; some of all that is killed.

Of whom was erased no byte is anywhere that an erasure does not name as due, whatever key there is; where it
says that it is done, nowhere at all. Everybody else's mail can be restored exactly, at each kept moment.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.destinations import ready
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.erasing import erasure
from mailhaul.coordinator.erasing.copies import discard_strays, discard_unruled, look_again
from mailhaul.coordinator.erasing.erasure import erase, go_on, rehearse
from mailhaul.coordinator.erasing.progress import Progress, read_progress
from mailhaul.coordinator.erasing.record import read_erasures
from mailhaul.coordinator.erasing.report import ErasureMeans
from mailhaul.coordinator.fetching import Fetched, fetch
from mailhaul.coordinator.holds import Hold, add_hold, read_holds, release
from mailhaul.coordinator.lost_copies import note_lost
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.recalling import RecallObserver, recall
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.settings import SweepRules, own_directory
from mailhaul.coordinator.structure_keys import area_at
from mailhaul.coordinator.sweeping.locks import sweeping
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import HeldError, NotFoundError
from mailhaul.proto.records import ArchiveId, RunId
from mailhaul.proto.structs import Record
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.destinations import registry
from mailhaul.worker.destinations.settings import Destination, S3Destination, TapeDestination
from mailhaul.worker.destinations.tape.lost_volume import forget_volume
from mailhaul.worker.destinations.tape.opening import open_tape, tape_place

from ..faults.killed import Steps, killed_at
from ..locking import AHEAD, Killed, LockingStore, bucket
from ..plain_bytes import plain_file
from ..sealed import everything_encrypted
from ..staged_chains import STARTED, State
from ..sweeping import Swept, SweptChain, directory
from ..tapes import copies_on

PARTS = 10
_FEW = 3
STEPS = 30
DAY = timedelta(days=1)
USERS = ("anna", "ben", "cleo", "dora")
HERE = local_engine(0)

KILLED_BEFORE: Steps = [
    (os, "fsync"),
    (os, "unlink"),
    (Path, "unlink"),
    (Path, "rename"),
    (Catalog, "erase"),
    (Catalog, "empty_units"),
    (Catalog, "remove_archives"),
    (Catalog, "replace_archive"),
    (Catalog, "renew_run"),
    (Catalog, "wipe"),
]


class Gone(Record, kw_only=True):
    """An erasure, whom it was of, and what stood only in their mail by then."""

    erasure: RunId
    user: str
    marks: frozenset[bytes]


class ErasureHistory:
    def __init__(self, place: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.rng = place, rng
        place.mkdir()
        self.chain = SweptChain(place / "staging")
        drive = TapeDestination(
            name="drive", state=str(place / "inventory"), file=str(place / "tapes"), record_bytes=10_240
        )
        (place / "tapes").mkdir()
        places = (directory(place, "vault"), bucket(place, "cloud"), drive)
        self.drive = drive
        self.chain.destinations = tuple(one for one in places if one.name == "vault" or rng.random() < 0.7)
        rules = SweepRules(
            copies=tuple(destination.name for destination in self.chain.destinations),
            keep_staged_seconds=0 if rng.random() < 0.5 else None,
            keep_newest=False,
        )
        self.swept = Swept(
            self.chain, self.chain.destinations, rules, look_again_seconds=rng.choice([0, 3600]), now=STARTED
        )
        self.store = LockingStore(lambda: self.swept.now)
        monkeypatch.setitem(registry._OPENERS, S3Destination, self.store.open)
        monkeypatch.setitem(registry._OPENERS, TapeDestination, self._open_tape)
        self.rules = RetentionRules(last=rng.choice([2, 3, 5]))
        self.state: State = {}
        self.marks: dict[str, set[bytes]] = {}
        self.gone: list[Gone] = []
        self.unlooked: set[RunId] = set()  # nobody has looked at destinations since
        self.erasures = self.killed = self.held = self.relapses = 0
        self.told: list[str] = []
        self._number = 0
        self._plain: dict[tuple[object, ...], bytes] = {}
        self._old: dict[Path, bytes] = {}

    def _open_tape(self, settings: TapeDestination) -> Any:
        return tape_place(settings, open_tape(settings, now=lambda: self.swept.now))

    def means(self) -> ErasureMeans:
        return ErasureMeans(destinations=self.chain.destinations, bring_back=self._bring_back)

    def _bring_back(self, holdings: Holdings, archives: Sequence[ArchiveId]) -> object:
        """What is at places that can be read now comes back; nobody waits for others."""
        return recall(
            area_at(self.chain.staging),
            holdings,
            archives,
            HERE,
            now=lambda: self.swept.now,
            pause=lambda: False,
            observer=RecallObserver(),
        )

    # What happens

    def night(self) -> None:
        self.swept.now = max(self.swept.now, STARTED) + DAY
        self.chain.days_off = (self.swept.now - STARTED).days - len(self.chain.moments)
        present = [user for user in USERS if user in self.state or self.rng.random() < 0.5] or [USERS[0]]
        shared = self._mail(b"{shared:%d}")
        for user in present:
            kept = [one for one in self.state.get(user, {}).get("INBOX", ()) if self.rng.random() < 0.8]
            for _ in range(self.rng.randrange(3)):
                mark = b"{%s:%%d}" % user.encode()
                kept.append(self._mail(mark, user))
            if self.rng.random() < 0.5:
                kept.append(shared)
            self.state = {**self.state, user: {"INBOX": tuple(kept)}}
        self.chain.run(self.state)

    def _mail(self, mark: bytes, user: str = "") -> bytes:
        self._number += 1
        text = mark % self._number
        if user:
            self.marks.setdefault(user, set()).add(text)
        # Some of it is short: less than is worth a hole of its own in a purge.
        size = self.rng.choice([30, 200, 3000])
        return b"Subject: %s\n\n%s%s" % (text, text, self.rng.randbytes(size))

    def sweep(self) -> None:
        self.swept.sweep()
        look_again(self.chain.staging, self.chain.destinations, self.swept.now)
        self.unlooked.clear()

    def kill_sweep(self) -> None:
        self.store.calls_to_live = self.rng.randrange(1, 20)
        try:
            self.sweep()
        except Killed:
            self.killed += 1
        self.store.calls_to_live = None

    def purge(self) -> None:
        request = PurgeRequest(
            path=LogicalPath(), rules_of=lambda _: self.rules, compact_below=self.rng.choice([0.1, 0.5])
        )
        purge(self.chain.staging, request, HERE)

    def keep_old(self) -> None:
        """Somebody copies what there is now."""
        self._old = {
            path: path.read_bytes()
            for path in self.chain.staging.rglob("*")
            if path.is_file() and (path.suffix in (".mha", ".mhr", ".gz") or path.name == "catalog.sqlite")
        }

    def relapse(self) -> None:
        """That copy is put over what is there, and the catalog is made again: with a look at the directory,
        which the old one knows as it was."""
        if not self._old or not self.gone:
            return
        self.relapses += 1
        for path, data in self._old.items():
            # A catalog from before later runs does not know their archives; a rebuild does.
            if path.name != "catalog.sqlite" or self.rng.random() < 0.5:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        for ending in ("-wal", "-shm"):
            (self.chain.staging / ".mailhaul" / f"catalog.sqlite{ending}").unlink(missing_ok=True)
        self._rebuild_from(self.chain.destinations[0], every_archive=self.rng.random() < 0.5)
        self.check_catalog()
        self.go_on()

    def rebuild(self) -> None:
        rebuild_catalog(self.chain.staging, every_archive=self.rng.random() < 0.5)
        self.check_catalog()

    def go_on(self) -> None:
        go_on(self.chain.staging, self.means(), self.swept.now, HERE)
        self._everywhere()

    def _everywhere(self) -> None:
        discard_unruled(self.chain.staging, lambda _: self.swept.rules)
        discard_strays(self.chain.staging, self.chain.destinations)
        before, self.swept.look_again_seconds = self.swept.look_again_seconds, 0
        self.sweep()
        self.swept.look_again_seconds = before

    def erase(self) -> None:
        user = self.rng.choice(USERS)
        staging, now = self.chain.staging, self.swept.now
        if self.rng.random() < 0.15:
            add_hold(staging, Hold(path=f"/primary/user/{user}", reason="case 1", since=now))
        try:
            plan = rehearse(staging, user, self.means(), now, HERE)
        except NotFoundError:
            return
        except HeldError:
            self.held += 1
            release(staging, LogicalPath.parse(f"/primary/user/{user}"))
            return
        known = {read_erasure.erasure for read_erasure in read_erasures(staging)}

        def act() -> None:
            erase(staging, plan, "why", self.means(), now, HERE)

        if self.rng.random() < 0.4:
            self.killed += killed_at(self.rng.randrange(1, 60), KILLED_BEFORE, act)
        else:
            act()
        for run_id in {one.erasure for one in read_erasures(staging)} - known:
            self.erasures += 1
            self.unlooked.add(run_id)
            self.gone.append(Gone(erasure=run_id, user=user, marks=frozenset(self.marks.pop(user, ()))))
            self.state.pop(user, None)
            with suppress(KeyError):
                self.chain.forget(user)
        if self.rng.random() < 0.7:
            self.go_on()

    def wait(self) -> None:
        self.swept.now += self.rng.choice([1, 9, 20]) * DAY

    # What must hold

    def check(self) -> None:
        staging, vault = self.chain.staging, self.place / "vault"
        here: bytes | None = None
        for gone in self.gone:
            progress = read_progress(staging, gone.erasure)
            if not progress.staged:
                continue
            here = here if here is not None else self._plain_below(staging)
            assert not _found(gone.marks, here), (gone, "staging")
            for place, name, version, data in (
                self._copies(vault) if gone.erasure not in self.unlooked else ()
            ):
                if found := _found(gone.marks, data):
                    assert progress.ended is None, (gone, place, name, found)
                    assert _is_due(progress, place, name, version), (gone, place, name, version, found)

    def _copies(self, vault: Path) -> Iterator[tuple[str, str, str, bytes]]:
        """All files outside of the staging area, with what they hold as plain text."""
        for path in sorted(vault.rglob("*")):
            if path.is_file():
                yield "vault", str(path.relative_to(vault)), "", self._plain_file(path)
        scratch, volumes = self.place / "scratch", (self.place / "tapes").glob("*.tap")
        there = {
            **{("cloud", *key): data for key, (_, data) in self._cloud().items()},
            **{("drive", *key): data for key, data in copies_on(volumes).items()},
        }
        for (place, name, version), data in there.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            yield place, name, version, self._plain_file(path, (place, name, version))
        shutil.rmtree(scratch, ignore_errors=True)

    def _plain_below(self, directory: Path) -> bytes:
        files = (path for path in sorted(directory.rglob("*")) if path.is_file())
        return b"\0".join(part for path in files for part in (str(path).encode(), self._plain_file(path)))

    def _plain_file(self, path: Path, copy: tuple[str, str, str] | None = None) -> bytes:
        """What a file holds, decoded once as long as it is the same."""
        status = path.stat()
        key = copy or (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
        if path.suffix not in (".mha", ".mhr", ".mhx", ".gz"):
            return plain_file(path)
        if key not in self._plain:
            self._plain[key] = plain_file(path)
        return self._plain[key]

    def _cloud(self) -> Any:
        files = self.store.files.get("cloud")
        return files.files if files is not None else {}

    def check_catalog(self) -> None:
        """The catalog knows nobody who was erased, and everybody else's mail is there."""
        with Catalog.open(self.chain.staging) as catalog:
            for version in catalog.histories():
                for gone in self.gone:
                    assert version.user != gone.user or version.run > gone.erasure, (version, gone)
            moments = [moment.run for moment in catalog.moments("primary", "user")]
        for run in moments:
            assert self.chain.read(run) == self._expected(run), run

    def _expected(self, run: RunId) -> State:
        gone = {one.user for one in self.gone if run < one.erasure}
        return {user: mail for user, mail in self.chain.moments[run].items() if user not in gone}

    def end(self) -> None:
        """Time passes until all locks have ended, and the volumes of before are destroyed."""
        for hold in read_holds(self.chain.staging).all:
            release(self.chain.staging, LogicalPath.parse(hold.path or "/"))
        for place in self.chain.destinations:
            if place is not self.drive:  # what an old catalog has forgotten
                self._rebuild_from(place)
        for _ in range(2):
            self.go_on()
            self.check()
            self.swept.now += AHEAD + 9 * DAY
        self.go_on()
        self.check()
        if self.drive in self.chain.destinations:
            self._destroy_volumes()
            self.go_on()
        self.check()
        self.check_catalog()
        for gone in self.gone:
            progress = read_progress(self.chain.staging, gone.erasure)
            assert progress.state == "done", (progress.undone, progress.remaining)
        with Catalog.open(self.chain.staging) as catalog:
            assert catalog.moments("primary", "user")

    def _rebuild_from(self, destination: Destination, *, every_archive: bool = True) -> None:
        staging, now = self.chain.staging, self.swept.now
        there = ready(destination, staging)

        def fetched() -> Fetched:
            used = own_directory(staging, destination.name).exists()
            return fetch(staging, there, now) if used else Fetched()

        rebuild_catalog(staging, every_archive=every_archive, fetch=fetched)

    def _destroy_volumes(self) -> None:
        tape = open_tape(self.drive)
        with sweeping(self.chain.staging, "drive"):
            for known in list(tape.inventory.all()):
                note_lost(self.chain.staging, "drive", forget_volume(tape.inventory, known))
        for path in (self.place / "tapes").glob("*.tap"):
            path.unlink()


def _found(marks: frozenset[bytes], data: bytes) -> list[bytes]:
    return [mark for mark in marks if mark in data]


def _is_due(progress: Progress, place: str, name: str, version: str) -> bool:
    due = {remaining.key for remaining in progress.remaining}
    return (place, name, version) in due or (place, name, "") in due


@pytest.mark.parametrize("part", range(PARTS))
def test_whoever_is_erased_is_gone_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int, part: int
) -> None:
    """200 histories from 1,000 rounds on, otherwise a few."""
    count = rounds // 50 if rounds >= 1000 else int(part < _FEW)
    if not count:
        pytest.skip("only from 1,000 rounds on")
    erasures = 0
    # Keys are handed in by the test: see everything_encrypted.
    monkeypatch.setattr(erasure, "refuse_locked", lambda *_: None)
    for number in range(count):
        seed = part * 1_000_000 + number
        history = ErasureHistory(tmp_path / str(seed), random.Random(seed), monkeypatch)
        encrypted = history.rng.random() < 0.3
        try:
            with everything_encrypted() if encrypted else nullcontext():
                _live(history)
        except BaseException as error:
            error.add_note(f"seed {seed}{', encrypted' * encrypted}:\n  " + "\n  ".join(history.told))
            raise
        erasures += history.erasures
        shutil.rmtree(history.place)
    assert erasures


def _live(history: ErasureHistory) -> None:
    history.night()
    history.night()
    steps = [
        *(history.night, history.night, history.night, history.sweep, history.sweep, history.kill_sweep),
        *(history.purge, history.erase, history.erase, history.wait, history.rebuild, history.go_on),
        *(history.keep_old, history.relapse),
    ]
    last = [history.night, history.sweep, history.keep_old, history.erase, history.erase, history.relapse]
    for step in (*(history.rng.choice(steps) for _ in range(STEPS)), *last):
        history.told.append(step.__name__)
        step()
        history.check()
    history.check_catalog()
    history.end()
