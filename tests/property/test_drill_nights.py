"""Thirty nights of runs, sweeps and drills, over copies that are damaged silently, mended, away: what a drill
says is so, and what is damaged is found and told within the nights that the numbers say.

What is so is found out in another way: all messages of each mailbox are read from each place and compared
with what was in the store. A few nights by default; ``--rounds 101`` and above: thirty, for each full hundred
a history."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.drills.drill import Drilled
from mailhaul.coordinator.drills.sample import drills_for_all
from mailhaul.coordinator.drills.settings import DrillConfig, SampleRules
from mailhaul.coordinator.drills.telling import tell_people
from mailhaul.coordinator.holdings import holdings
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.proofs import Proofs
from mailhaul.coordinator.structure_keys import area_at
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.errors import DamagedError
from mailhaul.tests.agreement import disagreements
from mailhaul.tests.archives import frames_of
from mailhaul.tests.drilling import SetClock, drill, real_trials
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.tests.swept import copy_out, vault
from mailhaul.worker.archives.opened import opened_archives

USERS = tuple(f"u{number}" for number in range(6))
PLACES = ("vault", "ceph")
CONFIG = DrillConfig(sample=SampleRules(mailboxes=5, older=0.0), reserve_bytes=0)
SPOILED = (FrameType.BLOCK, FrameType.MESSAGES, FrameType.MAILBOX, FrameType.DIRECTORY)

# At each place in turn; and half of the places at worst are taken by those that have failed.
BOUND = 2 * len(PLACES) * drills_for_all(CONFIG.sample, len(USERS))

Broken = dict[tuple[str, str], int]
"""(user, place) -> since which night."""


@dataclass
class History:
    """A store whose nights go by."""

    root: Path
    rng: random.Random
    night: int = 0
    whole: dict[Path, bytes] = field(default_factory=dict)
    broken: Broken = field(default_factory=dict)
    found: dict[tuple[str, int], int] = field(default_factory=dict)
    proven: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        self.chain = StagedChain(self.root / "staging")
        self.destinations = [vault(self.root / name, name) for name in PLACES]
        self.trials = real_trials(self.chain.staging, self.destinations)
        self.clock = SetClock(datetime(2026, 8, 1, 4, 0, tzinfo=UTC))
        self.mail = {user: {"INBOX": self._some(user, 3), "Sent": self._some(user, 2)} for user in USERS}

    def _some(self, user: str, count: int) -> tuple[bytes, ...]:
        return tuple(
            b"Subject: %d\n\n%s\n" % (number, self.rng.randbytes(200).hex().encode() + user.encode())
            for number in range(count)
        )

    def backup(self) -> None:
        """Mail comes to some; what is stored of it is swept. It stays in the staging area, too: the next
        night starts from that, and no drill reads it there."""
        for user in self.rng.sample(USERS, 2):
            self.mail[user] = {**self.mail[user], "INBOX": (*self.mail[user]["INBOX"], *self._some(user, 1))}
        self.chain.run({user: dict(folders) for user, folders in self.mail.items()})
        copy_out(self.chain.staging, *self.destinations)
        for place in PLACES:
            for file in (self.root / place).glob("primary/**/*.mha"):
                self.whole.setdefault(file, file.read_bytes())

    def spoil(self, places: tuple[str, ...]) -> None:
        """Bytes of an archive are others at these places, and nothing else tells."""
        name = self.rng.choice(sorted({file.relative_to(self.root).as_posix() for file in self.whole}))
        name = name.partition("/")[2]
        kind = self.rng.choice(SPOILED)
        for place in places:
            file = self.root / place / name
            data = bytearray(file.read_bytes())
            for frame in frames_of(self.whole[file], kind):
                data[self.rng.randrange(frame.at + 24, frame.end)] ^= 1 << self.rng.randrange(8)
            file.write_bytes(data)

    def mend(self) -> None:
        """As a sweep does it with copies that count no more."""
        for file, data in self.whole.items():
            file.write_bytes(data)

    def drill(self) -> Drilled:
        done = drill(self.chain.staging, CONFIG, PLACES, self.trials, self.clock, seed=self.night)
        tell_people(self.chain.staging, done, self.clock.time)
        return done

    def look(self) -> None:
        """What can't be read whole of which place, and since when."""
        now = {(user, place) for place in PLACES for user in self._broken_at(place)}
        self.broken = {one: self.broken.get(one, self.night) for one in now}

    def _broken_at(self, place: str) -> set[str]:
        with Catalog.open(self.chain.staging) as catalog:
            found = holdings(catalog, area_at(self.chain.staging), self.destinations, place)
            versions = list(catalog.mailboxes_at(catalog.resolve_time("latest"), nearest=True))
        broken = set()
        with opened_archives(found) as archives:
            contents = Contents(archives.data)
            for version in versions:
                there = None
                with suppress(DamagedError):
                    stored = StoredMailbox(archives, version.archive, version.user)
                    there = {
                        folder.folder.name: tuple(
                            b"".join(contents.message(message)) for message in stored.messages(folder)
                        )
                        for folder in stored.mailbox.folders
                    }
                if there != self.mail[version.user]:
                    broken.add(version.user)
        return broken

    def check(self, done: Drilled) -> None:
        """What the drill says is so, and it says all by the time that it has to."""
        for proof in done.proofs:
            expected = "failed" if (proof.user, proof.place) in self.broken else "proven"
            assert proof.outcome == expected, (proof, self.broken)
        known = {one.user: one for one in Proofs(self.chain.staging).all()}
        told = {standing.notice.cause for standing in NoticeRecord(self.chain.staging).lasting()}
        for (user, place), since in self.broken.items():
            failed = known[user].outcome == "failed" if user in known else False
            if failed:
                assert f"drill-failed:{LogicalPath('primary', 'user', user)}" in told
                self.found.setdefault((user, since), self.night - since)
            assert failed or self.night - since < BOUND, (user, place, since, self.night)
        self.proven += done.drill.proven
        self.failed += done.drill.failed

    def away(self) -> None:
        """One place is away for a night."""
        place = self.root / self.rng.choice(PLACES)
        place.rename(self.root / "away")
        try:
            done = self.drill()
        finally:
            (self.root / "away").rename(place)
        assert all(
            (proof.user, proof.place) in self.broken for proof in done.proofs if proof.outcome == "failed"
        )
        assert set(done.away) <= {place.name}
        assert not list(self.root.joinpath("scratch").iterdir())

    def next_night(self) -> None:
        self.night += 1
        self.clock.passes(timedelta(days=1).total_seconds())


def live_through(root: Path, seed: int, nights: int) -> History:
    history = History(root, random.Random(seed))
    plan = {2: ("vault",), nights // 2: PLACES}
    for night in range(nights):
        history.backup()
        if night in plan:
            history.spoil(plan[night])
        if night == nights - 3:
            history.mend()
        history.look()
        if night % 5 == 4:
            history.away()
        else:
            history.check(history.drill())
        history.next_night()
    assert history.broken == {}
    assert not [
        standing
        for standing in NoticeRecord(history.chain.staging).lasting()
        if "/u" in standing.notice.cause
    ]
    return history


def test_what_is_damaged_is_found_and_told_and_nothing_else(tmp_path: Path, rounds: int) -> None:
    if rounds <= 100:
        assert live_through(tmp_path / "0", 0, 10).found, "no damage was planted that a drill could find"
        return
    for seed in range(rounds // 100):
        history = live_through(tmp_path / str(seed), seed, 30)
        # Each apart: the archives of all histories have the same ids, and other mail.
        assert disagreements((tmp_path / str(seed)).rglob("*.mha")) == []
        shutil.rmtree(tmp_path / str(seed))
        late = max(history.found.values(), default=0)
        print(
            f"history {seed}: {history.proven} times a mailbox was proven, {history.failed} times not; found "
            f"{len(history.found)} that were damaged, after {late} nights at the latest (bound {BOUND})"
        )
