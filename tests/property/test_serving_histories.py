"""Histories of all that meets in ``mailhaul serve``: operations beside each other in its queue and by its
schedule, commands by hand meanwhile, drills, notices; processes that are killed or asked to stop,
coordinators that die and begin; and under it all that ``test_scattered_histories`` has: mail that comes and
goes, copies that are hurt or out of reach, catalogs and staging areas that are lost and made again.

Each operation has one end and did its work once; what is done can be restored exactly; what is proven can be
restored from there; what a drill does not find whole is damaged, and what is damaged it finds.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.drills.sample import drills_for_all
from mailhaul.coordinator.drills.settings import SampleRules
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.proofs import Proof, Proofs
from mailhaul.coordinator.service.records import Kind, Operation
from mailhaul.coordinator.serving.files import read_stderr
from mailhaul.coordinator.serving.queue import MOST_DEATHS
from mailhaul.proto.errors import EXIT_DAMAGED

from ..faults.killed import NEVER
from ..faults.test_sweep_kill import STEPS as KILLED_BEFORE
from ..histories import USERS, Mail, lived_through, mail_at
from ..queued import Service
from ..trees import differences
from .test_scattered_histories import PLACES, Scattered, Shifted, Steps, told_by

FIRST_SEED = 1_000_000
STEPS = 9
MANY_STEPS = 30
MOST_TICKS = 4000
OFTEN: Sequence[Kind] = (
    *("backup", "backup", "backup", "backup", "sweep", "sweep", "sweep", "purge", "verify"),
    *("drill", "drill", "drill", "inventory", "restore", "restore", "restore", "restore"),
)
COUNTED = (
    *("operations", "stops", "deaths", "killed", "damages", "erasures", "proven", "refuted", "counted"),
)
SAMPLE = SampleRules(mailboxes=3)

SERVE = """
[serve]
stop_grace = "10m"

[schedule]
zone = "Europe/Berlin"
backup = "02:00"
full = "sun 02:00"
sweep = ["06:00", "18:00"]
drill = "07:00"
verify = "sat 08:00"
verify_from = ["{sturdy}"]

[drill]
mailboxes = 3
reserve = "1 kB"
"""


class Asked:
    """An operation, what is to come of it, and what happened to it. A backup stores the mail as it was at one
    of the moments ``mails``, of all or of those that its ``scope`` ``covered``; a restore brings ``run`` back
    to ``target``."""

    def __init__(self, kind: str, scope: str = "") -> None:
        self.kind = kind
        self.scope = scope
        self.run = ""
        self.target: Path | None = None
        self.mails: list[Mail] = []
        self.covered: list[set[str]] = []
        self.erased: set[str] = set()
        self.troubled = False
        self.stopped = False


class Served(Scattered):
    """A history whose commands are operations, most of them. ``asked`` are those that have not ended yet."""

    def __init__(self, place: Path, rng: random.Random, clock: Shifted, steps: int) -> None:
        super().__init__(place, rng, clock)
        self.steps = steps
        self._config.write_text(self._config.read_text() + SERVE.format(sturdy=self.sturdy()))
        self.asked: dict[int, Asked] = {}
        self.operations = 0
        self.stops = 0
        self.deaths = 0
        self.proven = 0
        self.refuted = 0
        self.damages = 0
        self.erasures = 0
        self._spoiled: set[str] = set()
        self._deadly = False
        self._targets = 0
        self._drill = 0
        self.service = Service(self._config, KILLED_BEFORE, self._die_before)

    def _die_before(self) -> int:
        if not self._deadly or self.rng.random() < 0.6:
            return NEVER
        return self.rng.randrange(1, self.rng.choice([10, 60, 200]))

    def kinds(self) -> tuple[Steps, Steps, Steps]:
        """Half of all commands come from the queue."""
        mail, trouble, work = super().kinds()
        trouble += [self.hurt_staged, self.hurt_staged, self.erase, self.erase]
        return mail, trouble, [*work, *[self.serve] * len(work)]

    def hurt_copy(self) -> None:
        """See Scattered."""
        super().hurt_copy()
        self.damages += not self.away

    def hurt_staged(self) -> None:
        """An archive in the staging area is another, of which there is a copy at a place that has what it
        had. So nothing is lost, and all goes on as if nothing had been."""
        if self.stale or not self.catalog().exists():
            return
        with Catalog.open(self.staging) as catalog:
            records = list(catalog.archives())
        sturdy = [place for place in self.copies if place != self.frail]
        files = [
            self.staging / record.name
            for record in records
            if any(copy.state == "kept" and copy.place in sturdy for copy in record.copies)
            and (self.staging / record.name).exists()
        ]
        if files:
            chosen = self.rng.choice(files)
            self._spoiled.add(chosen.name)
            self.damages += 1
            self.told.append(f"hurt {chosen.name}")
            self._changed(self._flip, [chosen])

    def erase(self) -> None:
        """All is erased that is stored of somebody, until the next backup finds mail of theirs."""
        user = self.rng.choice(USERS)
        words = (user, "--reason", "asked for", "--yes")
        self.command("erase", *words, status=(0, 1, 3, 4, 5))
        if self.status not in (0, 3):
            return
        self.erasures += 1
        for mail in self.moments.values():
            mail.pop(user, None)
        for asked in self.asked.values():
            asked.erased.add(user)

    # The service

    def serve(self) -> None:
        """Operations are put in, and a coordinator carries them out; perhaps it does not come to the end."""
        self._deadly = self.rng.random() < 0.5
        for _ in range(self.rng.choice([1, 2, 4])):
            self._put_in(*self._request())
        if self.rng.random() < 0.4:
            self.wait()
        self._carry_out(self.rng.choice([10, 60, MOST_TICKS, MOST_TICKS]))

    def _request(self) -> tuple[Kind, Sequence[str]]:
        """Something that somebody may ask for."""
        kept = [run for run in self.moments if run not in self.purged]
        kind: Kind = self.rng.choice(OFTEN if kept else [known for known in OFTEN if known != "restore"])
        words: Mapping[Kind, Sequence[Sequence[str]]] = {
            "backup": [(), (), (), ("--full",), ("--thorough",), ("--self-contained",)],
            "purge": [("--last", "1"), ("--last", "2"), ("--last", "3")],
            "verify": [("--data",), ("--sample", "40%"), ("--older-than", "1d")],
            "inventory": [("drive",)],
        }
        if kind != "restore":
            return kind, (*self.rng.choice(words.get(kind, [()])), *self._scope(kind))
        self._targets += 1
        target = self.place / f"back{self._targets}"
        return kind, ("/", "--at", self.rng.choice(kept), "--to", f"maildir:{target}/{{user}}")

    def _scope(self, kind: Kind) -> tuple[str, ...]:
        """A group or a mailbox, now and then. (``user`` as a path means everybody.)"""
        if kind not in ("backup", "drill", "verify") or self.rng.random() < 0.7:
            return ()
        user = self.user()
        group = self.group_of(user)
        return (
            f"/primary/{group}/{user}" if group == "user" or self.rng.random() < 0.3 else f"/primary/{group}",
        )

    def _put_in(self, kind: Kind, words: Sequence[str]) -> None:
        number = self.service.put_in(kind, *words)
        self.has_purged = self.has_purged or kind == "purge"
        self.told.append(f"operation {number}: {kind} {' '.join(words)}")
        self._note(self.service.operations.get(number))

    def _note(self, operation: Operation) -> None:
        words = operation.request.arguments
        scope = next((word for word in words if word.startswith("/primary/")), "")
        asked = Asked(operation.request.kind, scope)
        if asked.kind == "restore":
            asked.run = words[words.index("--at") + 1]
            asked.target = Path(words[words.index("--to") + 1].removeprefix("maildir:")).parent
        self.asked[operation.id] = asked
        self.operations += 1

    def _carry_out(self, ticks: int) -> None:
        """A coordinator, for so long at most; then it dies, or ends in order, or the host goes down."""
        self.service.begin()
        now = mail_at(self.store)
        for _ in range(ticks):
            self.clock.ahead_seconds += self.rng.choice([1, 1, 1, 5])
            self.service.tick()
            self._note_scheduled()
            for operation in self.service.unfinished():
                asked = self.asked[operation.id]
                if asked.kind == "backup" and now not in asked.mails:
                    asked.mails.append(now)
                if asked.scope and (covered := self._covered(asked.scope)) not in asked.covered:
                    asked.covered.append(covered)
                asked.troubled = asked.troubled or self._is_troubled()
            if not self.service.unfinished():
                self.service.tick()  # what was stopped before it began is reported at the next
                break
            if self.rng.random() < 0.1:
                self._meanwhile()
        else:
            assert ticks < MOST_TICKS, [str(operation) for operation in self.service.unfinished()]
            end = self.rng.choice([self.service.end, self.service.kill_all])
            self.told.append(f"the coordinator: {end.__name__}")
            end()
            for asked in self.asked.values():
                asked.troubled = asked.troubled or end is self.service.kill_all
        self.service.await_all()
        self._settle()

    def _is_troubled(self) -> bool:
        """Whether anything may fail now."""
        return self.stale or self.away or bool(self.hurt_there) or not self.catalog().exists()

    def _note_scheduled(self) -> None:
        for operation in self.service.unfinished():
            if operation.id not in self.asked:
                assert operation.request.asked_by.startswith("schedule:"), operation
                self.told.append(
                    f"operation {operation.id}, due {operation.request.due}: {operation.request.kind}"
                )
                self._note(operation)

    def _meanwhile(self) -> None:
        """Something happens while operations are under way."""
        self.rng.choice([self._stop, self._kill, self._succeed, self._by_hand, self._by_hand, self._look])()

    def _stop(self) -> None:
        going = self.service.unfinished()
        if going:
            chosen = self.rng.choice(going)
            self.command("operations stop", str(chosen.id), status=(0, 2))
            self.asked[chosen.id].stopped = True
            self.stops += 1

    def _kill(self) -> None:
        going = self.service.under_way()
        if going:
            chosen = self.rng.choice(going)
            self.told.append(f"kill {chosen.id}")
            self.service.kill(chosen)

    def _succeed(self) -> None:
        """Another coordinator takes over what this has begun."""
        self.told.append("another coordinator")
        self.service.begin()

    def _look(self) -> None:
        self.service.look()
        causes = [standing.notice.cause for standing in NoticeRecord(self.staging).lasting()]
        if causes and self.rng.random() < 0.3:
            self.command("notify acknowledge", self.rng.choice(causes), status=(0,))

    def _by_hand(self) -> None:
        """A command beside the queue."""
        name, *options = self.rng.choice(
            [
                ("catalog rebuild", "--from", self.sturdy()),
                ("sweep",),
                ("verify", "--fix"),
                ("verify", "--from", self.sturdy()),
                ("drill", "--place", self.rng.choice(PLACES)),
                ("runs",),
                ("status",),
                ("proof",),
            ]
        )
        self.command(name, *options, status=(0, 1, 3, 4, 5))

    # What has to be so

    def _settle(self) -> None:
        """What has ended is as it says."""
        self._note_purges()
        for number, asked in list(self.asked.items()):
            operation = self.service.operations.get(number)
            reported = self.service.ends.reported.get(number)
            if operation in self.service.unfinished() or not reported:
                continue  # what had ended when its coordinator died is reported by the next
            del self.asked[number]
            self.deaths += operation.deaths
            self.told.append(f"{operation.request.kind} {number}: {operation.state} {operation.error}")
            said = read_stderr(self.staging, number)
            assert "bug" not in said, said
            assert "Traceback" not in said, said
            ends = [state for state in reported if state != "interrupted"]
            assert ends == [operation.state], (operation, ends)
            assert operation.state != "stopped" or asked.stopped or asked.erased, operation
            if operation.state == "failed":
                killed = operation.deaths + 1 >= MOST_DEATHS
                why = (operation, said)
                assert asked.troubled or killed or self._may_fail(operation, asked), why
            if operation.state in ("done", "partial"):
                self._check_done(operation, asked)
        self._check_proofs()

    def _note_purges(self) -> None:
        if self.catalog().exists() and not self.stale:
            self.note_purged()

    def _may_fail(self, operation: Operation, asked: Asked) -> bool:
        """Whether it may without other trouble: what it reads was purged before it began, or there is nobody
        in its scope; and who looks at damage says so."""
        if operation.request.kind == "restore":
            return self.has_purged
        return bool(asked.scope) or (operation.exit_status == EXIT_DAMAGED and bool(self._spoiled))

    def _check_done(self, operation: Operation, asked: Asked) -> None:
        if asked.kind == "backup" and operation.carries:
            self._check_backup(operation, asked)
        elif asked.target is not None:
            if operation.state == "done":
                found = mail_at(asked.target)
                expected = self.moments.get(asked.run, found)
                for user in asked.erased:
                    found.pop(user, None)
                expected = {user: mail for user, mail in expected.items() if user not in asked.erased}
                self._check_found(expected, found, operation)
            else:
                assert asked.troubled or self.has_purged, operation
            shutil.rmtree(asked.target, ignore_errors=True)

    def _check_backup(self, operation: Operation, asked: Asked) -> None:
        run = operation.carries
        assert run not in self.moments, f"{run} was done before {operation}"
        if self.catalog().exists() and not self.stale:
            assert run in {known["run"] for known in self.runs()}, operation
        if asked.scope:
            found = self._mail_of(run)
            if found is not None:
                self._check_covered(asked, found)
                self.moments[run] = found
        elif len(asked.mails) == 1 and not asked.erased:
            self.moments[run] = asked.mails[0]
        else:
            found = self._mail_of(run)
            if found is not None:
                without = [{u: m for u, m in mail.items() if u not in asked.erased} for mail in asked.mails]
                self._check_mixed([*asked.mails, *without], found, operation)
                self.moments[run] = found
        if run in self.moments and run not in self.purged and not self._is_troubled():
            self._check_moment(run)

    def _covered(self, scope: str) -> set[str]:
        """The users of the store that a group or a mailbox selects now."""
        _, _, group, *alone = scope.split("/")
        there = {path.name for path in self.store.iterdir()}
        return {user for user in alone or there if user in there and self.group_of(user) == group}

    def _check_covered(self, asked: Asked, found: Mail) -> None:
        """Who was covered is stored as they were; of others the backup says what it said before."""
        if len(asked.covered) == len(asked.mails) == 1:
            for user in asked.covered[0] - asked.erased:
                assert differences(asked.mails[0][user], found.get(user, {})) == [], (user, asked.scope)

    def _mail_of(self, run: str) -> Mail | None:
        """What a restore of a moment gives; None if that can't be now."""
        target = self.place / "restored"
        self.command("restore", "/", "--at", run, "--to", f"maildir:{target}/{{user}}", status=(0, 1, 3, 4))
        found = mail_at(target)
        shutil.rmtree(target, ignore_errors=True)
        return found if self.status == 0 else None

    def _check_mixed(self, mails: list[Mail], found: Mail, operation: Operation) -> None:
        """Each message is as it was at one of the moments; what was there all the time is there."""
        for user in {user for mail in (*mails, found) for user in mail}:
            entries = [set(mail.get(user, {}).items()) for mail in mails]
            got = set(found.get(user, {}).items())
            assert got <= set.union(*entries), (user, operation)
            assert got >= set.intersection(*entries), (user, operation)

    def _check_found(self, mail: Mail, found: Mail, what: object) -> None:
        for user in mail.keys() | found.keys():
            assert differences(mail.get(user, {}), found.get(user, {})) == [], (user, what)

    def _check_proofs(self) -> None:
        """What drills have proven since the last look can be restored from there; what they have not is
        damaged."""
        record = Proofs(self.staging)
        now = self.service.now()
        newest = max((drill.id for drill in record.drills(1)), default=0)
        for proof in record.all():
            assert proof.tried <= now
            assert proof.proven is None or proof.proven <= proof.tried
            if proof.drill > self._drill:
                self._check_proof(proof)
        self._drill = newest

    def _check_proof(self, proof: Proof) -> None:
        if proof.outcome == "failed":
            self.refuted += 1
            assert proof.place in ("", self.frail) or self._spoiled, proof
            assert self.hurt_there or self._spoiled, proof
        if proof.outcome == "proven":
            self.proven += 1
            if proof.run in self.moments and not self._is_troubled():
                self._check_alike(proof)

    def _check_alike(self, proof: Proof) -> None:
        target = self.place / "proven"
        path = f"/{proof.partition}/{proof.group}/{proof.user}"
        place = () if proof.place == "staging" else ("--from", proof.place)
        self.command(
            "restore", path, "--at", proof.run, *place, "--to", f"maildir:{target}/{{user}}", status=(0, 1)
        )
        if self.status:
            assert self.has_purged, proof
        else:
            mail = self.moments[proof.run]
            self._check_found({proof.user: mail[proof.user]}, mail_at(target), proof)
        shutil.rmtree(target, ignore_errors=True)

    # The whole

    def check(self) -> None:
        """What left the staging area meanwhile is known by what the places have that nothing happens to."""
        for name in (place for place in self.copies if place != self.frail):
            for (archive, _), data in self._lying_at(name):
                self.sealed.setdefault(archive, blake3(data).digest())
        super().check()

    def lose_catalog(self) -> None:
        """A run that was killed when its last unit was stored, or beside which another program had the lock,
        is known to the catalog alone until the next run or sweep. (What it stored is found as of later
        moments.)"""
        for run in list(self.moments):
            if not any(self.staging.glob(f"_runs/*/{run}.*.mhr")):
                del self.moments[run]
        super().lose_catalog()

    def _check_group(self, run: str, group: str) -> None:
        """Of a group of which everybody was erased there is nothing to restore."""
        if self.erasures:
            target = self.place / "erased"
            where = ("--at", run, "--to", f"maildir:{target}/{{user}}")
            self.command("restore", f"/primary/{group}", *where, status=(0, 1))
            found = mail_at(target)
            shutil.rmtree(target, ignore_errors=True)
            if self.status == 1:
                assert not found
                return
        super()._check_group(run, group)

    def lose_staging(self) -> None:
        """The queue is lost with it. (That a drive is away nobody can see who has lost its inventory.)"""
        if self.frail == "drive":
            self.come_back()
        self._drain()
        super().lose_staging()
        self._anew()

    def _anew(self) -> None:
        self.service = Service(self._config, KILLED_BEFORE, self._die_before)
        self._drill = 0

    def _drain(self) -> None:
        self._deadly = False
        self._carry_out(MOST_TICKS)
        assert not self.asked

    def live(self) -> None:
        """Any mixture of all this; in the end all is well again."""
        self.step(self.back_up)
        for kinds in self.rng.choices(self.kinds(), [2, 3, 5], k=self.steps):
            self.step(self.rng.choice(kinds))
        last = [self.come_back, self._with_all_known, self._drain, self._refute_all, self._check_all]
        last += [self._heal]
        for step in (*last, self._sweep_all, self._prove_all, self._sweep_all):
            self.step(step)
        self._restore_all()
        self._alone(self.rng.choice(self.copies))

    def _check_all(self) -> None:
        super()._check_all()
        self.fix()
        self.hurt_there.clear()
        self._spoiled.clear()

    def _refute_all(self) -> None:
        """Who can't be restored whole from the frail place is found within the nights that the numbers
        say."""
        broken = self._broken()
        found: set[str] = set()
        nights = 0
        while not broken <= found and nights < self._nights():
            self._night()
            nights += 1
            found |= {proof.user for proof in Proofs(self.staging).all() if proof.outcome == "failed"}
        if not broken <= found:
            assert self._broken() & broken <= found

    def _broken(self) -> set[str]:
        """Of whom the frail place has what it takes, and has it otherwise."""
        broken = set()
        target = self.place / "broken"
        for user in {user for mail in self.moments.values() for user in mail} if self.hurt_there else ():
            where = ("--from", self.frail, "--to", f"maildir:{target}/{{user}}")
            done = self.command("restore", f"/primary/user/{user}", *where, status=(0, 1, 3, 4))
            if self.status in (3, 4) and done["damaged"]:
                broken.add(user)
            shutil.rmtree(target, ignore_errors=True)
        return broken

    def _nights(self) -> int:
        """In which everybody is tried at each place, though half of the places are taken by who failed."""
        return 2 * len(self.copies) * drills_for_all(SAMPLE, len(USERS))

    def _night(self) -> None:
        self.clock.ahead_seconds += 24 * 3600
        self._put_in("drill", ())
        self._drain()

    def _prove_all(self) -> None:
        """When all is well everybody is proven within the nights that the numbers say, and nothing lasts of
        what was said of drills."""
        for _ in range(self._nights()):
            self._night()
            if all(proof.outcome == "proven" for proof in Proofs(self.staging).all()):
                break
        record = NoticeRecord(self.staging)
        assert [standing.notice.cause for standing in record.lasting(("drill-failed",))] == []


def test_what_the_service_says_is_so(tmp_path: Path, rounds: int) -> None:
    """A short history; from 200 rounds on long ones, a history for each 50."""
    sums: dict[str, int] = {}
    many = rounds > 100
    for seed in range(FIRST_SEED, FIRST_SEED + (rounds // 50 if many else 1)):
        place, clock = tmp_path / str(seed), Shifted()
        with told_by(clock):
            history = Served(place, random.Random(seed), clock, MANY_STEPS if many else STEPS)
            try:
                lived_through(history, seed)
            finally:
                history.service.kill_all()
        for what in (
            "operations",
            "stops",
            "deaths",
            "killed",
            "damages",
            "erasures",
            "proven",
            "refuted",
            "counted",
        ):
            sums[what] = sums.get(what, 0) + getattr(history, what)
        shutil.rmtree(place)
    print(sums)
    assert sums["operations"]
    assert sums["proven"]
