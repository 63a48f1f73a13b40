"""Histories of backups whose archives leave the staging area: for a directory, for tapes that are files, for
programs. Sweeps are killed at any step, copies are hurt, lost or out of reach, catalogs and staging areas
are lost and made again from what there is.

One destination is frail, and anything may happen to it; the others keep what they have. So nothing is ever
lost: each kept moment can be restored exactly at any time, and at the end from each destination alone. What
is said to be a copy is one. Speaks to nothing but the command line, and looks into the catalog.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.clock import SystemClock
from mailhaul.proto.records import STAGING
from mailhaul.worker.archives.retried import Patience
from mailhaul.worker.tasks import sweeping

from ..faults.killed import killed_at
from ..faults.test_sweep_kill import STEPS as KILLED_BEFORE
from ..histories import lived_through, mail_at
from ..tapes import copies_on, damage
from ..trees import differences
from ..verifying import command_status
from .test_damage_histories import Damaged

PARTS = 2
STEPS = 16
HOURS = (1, 1, 30, 8 * 24)
NAMES = ("few", "many", "rest", "user")
"""Of groups."""
PLACES = ("vault", "drive", "programs")

DESTINATIONS = """
[[destination]]
name = "vault"
kind = "directory"
path = "{place}/vault"

[[destination]]
name = "drive"
kind = "tape"
file = "{place}/drive"
record = "10 KiB"
capacity = "{capacity}"

[[destination]]
name = "programs"
kind = "command"
put = ["sh", "-c", 'cd "$0" && mkdir -p "${{1%/*}}" && cat > "$1"', "{place}/programs", "./{{name}}"]
get = ["cat", "{place}/programs/{{name}}"]
list = ["find", "{place}/programs", "-type", "f", "-printf", "%s %P\\\\n"]
remove = ["rm", "-f", "{place}/programs/{{name}}"]

[sweep]
copies = {copies}
look_again = "{look_again}"
keep_staged = "{keep_staged}"
keep_newest = {keep_newest}
"""


Steps = list[Callable[[], None]]


class Shifted(SystemClock):
    """A clock that runs ahead."""

    ahead_seconds = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_seconds


class Scattered(Damaged):
    """A history whose archives lie in several places. ``frail`` is the place that may be hurt; ``hurt_there``
    are its copies that were, and ``away`` is whether it can't be reached."""

    def __init__(self, place: Path, rng: random.Random, clock: Shifted) -> None:
        super().__init__(place, rng)
        self.clock = clock
        self.frail = rng.choice(PLACES)
        self.copies = sorted(rng.sample(PLACES, rng.choice([2, 3])))
        self.hurt_there: set[str] = set()
        self.away = False
        self.stale = False
        self.sealed: dict[str, bytes] = {}
        self.counted = 0
        self.killed = 0
        self.has_purged = False
        self._old_catalog = b""
        facts = {
            "place": place,
            "copies": json.dumps(self.copies),
            "capacity": rng.choice(["5 MB", "1 GB"]),
            "look_again": rng.choice(["0s", "1h"]),
            "keep_staged": rng.choice(["0s", "2 days"]),
            "keep_newest": rng.choice(["true", "false"]),
        }
        self._config.write_text(self._config.read_text() + DESTINATIONS.format_map(facts))
        (place / "programs").mkdir()
        for name in PLACES:
            self.command("destination check", name, status=(0,))

    def step(self, step: Callable[[], None]) -> None:
        """Let something happen, and see that what is recorded is so."""
        super().step(step)
        self.check()

    # What happens to archives and their copies

    def sweep(self) -> None:
        options = self.rng.choice([(), (), (), ("--to", self.rng.choice(PLACES)), ("/primary",)])
        self.command("sweep", *options, status=(0, 1, 3, 4))

    def kill(self) -> None:
        """Something that writes is killed before any step."""
        name, *options = self.rng.choice(
            [("sweep",)] * 4
            + [
                ("purge", "--last", "2"),
                ("recall", "/"),
                ("catalog rebuild",),
                ("backup",),
                ("verify", "--fix"),
            ]
        )
        step = self.rng.randrange(1, self.rng.choice([10, 60, 200]))
        self.told.append(f"kill {name} before step {step}")
        line = f"--config {self._config} {name}"
        self.killed += killed_at(step, KILLED_BEFORE, lambda: command_status(line, *options))
        if name == "purge":
            self.has_purged = True
            self.note_purged()

    def wait(self) -> None:
        self.clock.ahead_seconds += self.rng.choice(HOURS) * 3600.0

    def hurt_copy(self) -> None:
        """A copy at the frail place is another, or gone."""
        if self.away:
            return
        if self.frail == "drive":
            volumes = self._volumes()
            if volumes:
                volume = self.rng.choice(volumes)
                before = copies_on(volumes)
                blocks = volume.stat().st_size // 10_300
                damage(volume, self.rng.randrange(max(1, blocks)))
                after = copies_on(volumes)
                hurt = {name for (name, at), data in before.items() if after.get((name, at)) != data}
                # Where what tells of a volume is damaged, all of it may have to be written again.
                self.hurt_there |= hurt or {name for name, _ in before}
            return
        files = sorted((self.place / self.frail).glob("[!.]*/*/*.mha"))
        if files:
            chosen = self.rng.choice(files)
            self.hurt_there.add(str(chosen.relative_to(self.place / self.frail)))
            if self.rng.random() < 0.5:
                chosen.unlink()
            else:
                self._changed(self.rng.choice([self._flip, self._cut, self._insert]), [chosen])

    def check_copies(self) -> None:
        self.command("verify", "--from", self.rng.choice(PLACES), status=(0, 1, 4))

    def leave(self) -> None:
        """The frail place can't be reached for some time."""
        self._move(away=True)

    def come_back(self) -> None:
        self._move(away=False)

    def _move(self, *, away: bool) -> None:
        here, there = self.place / self.frail, self.place / "out of reach"
        if away and not self.away and here.exists():
            here.rename(there)
        elif self.away and not away:
            there.rename(here)
        self.away = there.exists()

    def recall(self) -> None:
        self._with_all_known()
        options = self.rng.choice([(), ("--from", self.sturdy())])
        self.command("recall", "/", *options, status=(0, 1, 4) if options else (0,))

    def sturdy(self) -> str:
        """A place that has all that was swept."""
        return self.rng.choice([copy for copy in self.copies if copy != self.frail])

    def keep_catalog(self) -> None:
        if self.catalog().exists():
            self._old_catalog = self.catalog().read_bytes()

    def old_catalog(self) -> None:
        """The catalog is as it was some time ago."""
        if self._old_catalog:
            self.lose_catalog()
            self.catalog().write_bytes(self._old_catalog)
            self.stale = True

    def lose_catalog(self) -> None:
        super().lose_catalog()
        self.stale = True

    def rebuild(self) -> None:
        """The catalog, from what lies in the staging area and, for what left it since, at a place."""
        if self.rng.random() < 0.5:
            self.lose_catalog()
        options = self.rng.choice([(), (), ("--every-archive",)])
        self._rebuilt(self.sturdy(), *options)

    def _rebuilt(self, place: str, *options: str) -> None:
        told = self.command("catalog rebuild", "--from", place, *options, status=(0, 3, 4))
        assert told["missing"] == []
        # Of what lies beside archives others tell as well: a damaged one is named.
        assert all(place == self.frail and ".mh" not in one["path"] for one in told["damaged"]), told
        self.stale = False
        self.note_purged()

    def lose_staging(self) -> None:
        """All of the staging area, when everything has left it."""
        self._with_all_known()
        self._sweep_all()
        shutil.rmtree(self.staging)
        self.staging.mkdir()
        place = self.sturdy()
        self.told.append(f"from {place}")
        if place == "drive":
            self.command("tape inventory", "drive", status=(0,))
        # What was purged only a snapshot tells, for its record is lost as well.
        self._rebuilt(place, *self.rng.choice([(), () if self.has_purged else ("--every-archive",)]))

    def _sweep_all(self) -> None:
        """Until every archive has all its copies, but for those at a place that is away."""
        for last in (False, False, True):
            self.clock.ahead_seconds += 3600.0
            self.command("sweep", status=(1, 3, 4) if self.away else (0,) if last else (0, 3))

    def _with_all_known(self) -> None:
        """After the loss of a catalog: somebody has made it again."""
        if self.stale or not self.catalog().exists():
            self._rebuilt(self.sturdy())

    # What has to be so

    def check(self) -> None:
        """What is a copy by the catalog is one; and no archive left the staging area without another."""
        for path in self.archives():
            self.sealed.setdefault(str(path.relative_to(self.staging)), blake3(path.read_bytes()).digest())
        if self.stale or not self.catalog().exists():
            return
        there = {
            name: dict(self._lying_at(name)) for name in PLACES if not (self.away and name == self.frail)
        }
        with Catalog.open(self.staging) as catalog:
            records = list(catalog.archives())
        for record in records:
            sound = 0
            for copy in record.copies:
                if copy.state == "lost" or (copy.place != STAGING and copy.place not in there):
                    continue
                if copy.place == STAGING:
                    assert (self.staging / copy.name).exists(), f"{copy} is not in the staging area"
                    sound += 1
                    continue
                data = there[copy.place].get((copy.name, copy.version))
                good = data is not None and blake3(data).digest() == self.sealed[copy.name]
                if good:
                    sound += copy.state == "kept" and copy.generation == record.generation
                    self.counted += copy.state == "kept"
                else:
                    assert copy.place == self.frail, f"{copy} is no copy"
                    assert copy.name in self.hurt_there, f"{copy} is no copy"
            assert sound, f"{record} lies nowhere"

    def _lying_at(self, place: str) -> Iterator[tuple[tuple[str, str], bytes]]:
        if place == "drive":
            yield from copies_on(self._volumes()).items()
            return
        root = self.place / place
        for path in root.glob("[!.]*/*/*.mha"):
            yield (str(path.relative_to(root)), ""), path.read_bytes()

    def _volumes(self) -> list[Path]:
        return sorted((self.place / "drive").glob("*.tap"))

    def restore_any(self) -> None:
        self._with_all_known()
        kept = [run for run in self.moments if run not in self.purged]
        if kept:
            self._check_moment(self.rng.choice(kept))

    def _check_moment(self, run: str) -> None:
        if self._restored(run):
            return
        # Groups that were named otherwise since are purged on their own: what others were is still kept.
        assert self.has_purged, f"{run} can't be restored: {self.status}"
        with Catalog.open(self.staging) as catalog:
            kept = [
                group
                for group in NAMES
                if run in {moment.run for moment in catalog.moments("primary", group)}
            ]
        assert kept, f"{run} can't be restored: {self.status}"
        for group in kept:
            self._check_group(run, group)

    def _check_group(self, run: str, group: str) -> None:
        target = self.place / "restored"
        where = ("--at", run, "--to", f"maildir:{target}/{{user}}")
        done = self.command("restore", f"/primary/{group}", *where, status=(0,))
        assert done["damaged"] == done["skipped"] == []
        for user, mail in mail_at(target).items():
            assert differences(self.moments[run][user], mail) == [], (run, group, user)
        shutil.rmtree(target, ignore_errors=True)

    # The whole

    def live(self) -> None:
        """Any mixture of all this; in the end all is well again."""
        self.step(self.back_up)
        for kinds in self.rng.choices(self.kinds(), [2, 3, 5], k=STEPS):
            self.step(self.rng.choice(kinds))
        for step in (self.come_back, self._with_all_known, self._check_all, self._heal, self._sweep_all):
            self.step(step)
        self._restore_all()
        for place in self.copies:
            self._alone(place)

    def kinds(self) -> tuple[Steps, Steps, Steps]:
        """What may happen: to the mail, to what is backed up, and by commands."""
        mail = [self.deliver, self.deliver, self.expunge, self.move, self.flag, self.drop_folder]
        mail += [self.drop_user, self.come, self.regroup, self.split]
        trouble = [self.hurt_copy, self.hurt_copy, self.leave, self.come_back, self.kill, self.kill]
        trouble += [self.keep_catalog, self.old_catalog, self.lose_catalog, self.lose_staging]
        work = [self.back_up] * 5 + [self.sweep] * 6 + [self.wait] * 2 + [self.purge] * 2 + [self.rebuild]
        work += [self.hold, self.release, self.fix, self.recall, self.check_copies, self.restore_any]
        return mail, trouble, work

    def purge(self) -> None:
        self._with_all_known()
        self.has_purged = True
        super().purge()

    def back_up(self) -> None:
        super().back_up()
        self.stale = self.stale and self.status not in (0, 3)

    def _check_all(self) -> None:
        """What was hurt is found, all of it."""
        for name in PLACES:
            self.command("verify", "--from", name, status=(0, 4))

    def _restore_all(self) -> None:
        for run in self.moments:
            if run not in self.purged:
                self._check_moment(run)

    def _alone(self, place: str) -> None:
        """The staging area is lost, and the other destinations are."""
        shutil.rmtree(self.staging)
        self.staging.mkdir()
        hidden = [self.place / one for one in PLACES if one != place]
        for path in hidden:
            path.rename(path.with_suffix(".hidden"))
        self.told.append(f"{place} alone")
        if place == "drive":
            self.command("tape inventory", "drive", status=(0,))
        self._rebuilt(place)
        self._restore_all()
        for one in hidden:
            one.with_suffix(".hidden").rename(one)


@contextmanager
def told_by(clock: Shifted) -> Iterator[None]:
    """Commands tell the time by this clock, and do not wait for who is away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "clock", lambda: clock)
        patch.setattr(sweeping, "Patience", lambda **_: Patience(total_seconds=0))
        yield


@pytest.mark.parametrize("part", range(PARTS))
def test_what_left_the_staging_area_is_where_it_is_said_to_be(tmp_path: Path, rounds: int, part: int) -> None:
    counted = killed = 0
    for seed in range(part * 1_000_000, part * 1_000_000 + max(1, rounds // (PARTS * 50))):
        place, clock = tmp_path / str(seed), Shifted()
        with told_by(clock):
            history = Scattered(place, random.Random(seed), clock)
            lived_through(history, seed)
        counted += history.counted
        killed += history.killed
        shutil.rmtree(place)
    print(f"{counted} copies compared, {killed} times killed")
    assert counted
