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

import pytest

from mailhaul.coordinator.drills.sample import drills_for_all
from mailhaul.coordinator.drills.settings import SampleRules
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.proofs import Proof, Proofs
from mailhaul.coordinator.service.records import Kind, Operation
from mailhaul.coordinator.serving.files import read_stderr
from mailhaul.coordinator.serving.queue import MOST_DEATHS

from ..faults.killed import NEVER
from ..faults.test_sweep_kill import STEPS as KILLED_BEFORE
from ..histories import USERS, Mail, lived_through, mail_at
from ..queued import Service
from ..trees import differences
from .test_scattered_histories import PLACES, Scattered, Shifted, Steps, told_by

PARTS = 2
STEPS = 10
MOST_TICKS = 4000
OFTEN: Sequence[Kind] = (
    *("backup", "backup", "backup", "backup", "sweep", "sweep", "sweep", "purge", "verify"),
    *("drill", "drill", "drill", "inventory", "restore", "restore", "restore", "restore"),
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
    of the moments ``mails``; a restore brings ``run`` back to ``target``."""

    def __init__(self, kind: str, run: str = "", target: Path | None = None) -> None:
        self.kind = kind
        self.run = run
        self.target = target
        self.mails: list[Mail] = []
        self.troubled = False
        self.stopped = False


class Served(Scattered):
    """A history whose commands are operations, most of them. ``asked`` are those that have not ended yet."""

    def __init__(self, place: Path, rng: random.Random, clock: Shifted) -> None:
        super().__init__(place, rng, clock)
        self._config.write_text(self._config.read_text() + SERVE.format(sturdy=self.sturdy()))
        self.asked: dict[int, Asked] = {}
        self.settled: dict[int, str] = {}
        self.operations = 0
        self.stops = 0
        self.deaths = 0
        self.proven = 0
        self.refuted = 0
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
        return mail, trouble, [*work, *[self.serve] * len(work)]

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
        kind: Kind = self.rng.choice(OFTEN if kept else [one for one in OFTEN if one != "restore"])
        words: Mapping[Kind, Sequence[Sequence[str]]] = {
            "backup": [(), (), (), ("--full",), ("--thorough",), ("--self-contained",)],
            "purge": [("--last", "1"), ("--last", "2"), ("--last", "3")],
            "verify": [("--data",), ("--sample", "40%"), ("--older-than", "1d")],
            "inventory": [("drive",)],
        }
        if kind != "restore":
            return kind, self.rng.choice(words.get(kind, [()]))
        self._targets += 1
        target = self.place / f"back{self._targets}"
        return kind, ("/", "--at", self.rng.choice(kept), "--to", f"maildir:{target}/{{user}}")

    def _put_in(self, kind: Kind, words: Sequence[str]) -> None:
        number = self.service.put_in(kind, *words)
        self.told.append(f"operation {number}: {kind} {' '.join(words)}")
        self._note(self.service.operations.get(number))

    def _note(self, operation: Operation) -> None:
        words = operation.request.arguments
        asked = Asked(operation.request.kind)
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
            for one in self.asked.values():
                if one.kind == "backup" and now not in one.mails:
                    one.mails.append(now)
                one.troubled = one.troubled or self._is_troubled()
            if not self.service.unfinished():
                self.service.tick()  # what was stopped before it began is reported at the next
                break
            if self.rng.random() < 0.1:
                self._meanwhile()
        else:
            assert ticks < MOST_TICKS, [str(one) for one in self.service.unfinished()]
            end = self.rng.choice([self.service.end, self.service.kill_all])
            self.told.append(f"the coordinator: {end.__name__}")
            end()
            for one in self.asked.values():
                one.troubled = one.troubled or end is self.service.kill_all
        self.service.await_all()
        self._settle()

    def _is_troubled(self) -> bool:
        """Whether anything may fail now."""
        return self.stale or self.away or bool(self.hurt_there) or not self.catalog().exists()

    def _note_scheduled(self) -> None:
        for one in self.service.unfinished():
            if one.id not in self.asked:
                assert one.request.asked_by.startswith("schedule:"), one
                self.told.append(f"operation {one.id}, due {one.request.due}: {one.request.kind}")
                self._note(one)

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
        causes = [one.notice.cause for one in NoticeRecord(self.staging).lasting()]
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
            one = self.service.operations.get(number)
            if one in self.service.unfinished():
                continue
            del self.asked[number]
            self.settled[number] = one.state
            self.deaths += one.deaths
            self.told.append(f"{one.request.kind} {number}: {one.state} {one.error}")
            said = read_stderr(self.staging, number)
            assert "bug" not in said, said
            assert "Traceback" not in said, said
            ends = [state for state in self.service.ends.reported.get(number, []) if state != "interrupted"]
            assert ends == [one.state], (one, ends)
            assert one.state != "stopped" or asked.stopped, one
            if one.state == "failed":
                assert asked.troubled or one.deaths + 1 >= MOST_DEATHS or self._may_fail(one), (one, said)
            if one.state in ("done", "partial"):
                self._check_done(one, asked)
        self._check_proofs()

    def _note_purges(self) -> None:
        if self.catalog().exists() and not self.stale:
            self.has_purged = self.has_purged or any(one["purged"] for one in self.runs())
            self.note_purged()

    def _may_fail(self, one: Operation) -> bool:
        """Whether it may without any trouble: what it reads may have been purged before it began, or there
        was nothing yet."""
        return one.request.kind == "restore" and self.has_purged

    def _check_done(self, one: Operation, asked: Asked) -> None:
        if asked.kind == "backup" and one.carries:
            self._check_backup(one, asked)
        elif asked.target is not None:
            if one.state == "done":
                self._check_found(self.moments[asked.run], mail_at(asked.target), one)
            else:
                assert asked.troubled or self.has_purged, one
            shutil.rmtree(asked.target, ignore_errors=True)

    def _check_backup(self, one: Operation, asked: Asked) -> None:
        run = one.carries
        assert run not in self.moments, f"{run} was done before {one}"
        if self.catalog().exists() and not self.stale:
            assert run in {known["run"] for known in self.runs()}, one
        if len(asked.mails) == 1:
            self.moments[run] = asked.mails[0]
        else:
            found = self._mail_of(run)
            if found is not None:
                self._check_mixed(asked.mails, found, one)
                self.moments[run] = found
        if run in self.moments and run not in self.purged and not self._is_troubled():
            self._check_moment(run)

    def _mail_of(self, run: str) -> Mail | None:
        """What a restore of a moment gives; None if that can't be now."""
        target = self.place / "restored"
        self.command("restore", "/", "--at", run, "--to", f"maildir:{target}/{{user}}", status=(0, 1, 3, 4))
        found = mail_at(target)
        shutil.rmtree(target, ignore_errors=True)
        return found if self.status == 0 else None

    def _check_mixed(self, mails: list[Mail], found: Mail, one: Operation) -> None:
        """Each message is as it was at one of the moments; what was there all the time is there."""
        for user in {user for mail in (*mails, found) for user in mail}:
            entries = [set(mail.get(user, {}).items()) for mail in mails]
            got = set(found.get(user, {}).items())
            assert got <= set.union(*entries), (user, one)
            assert got >= set.intersection(*entries), (user, one)

    def _check_found(self, mail: Mail, found: Mail, what: object) -> None:
        for user in mail.keys() | found.keys():
            assert differences(mail.get(user, {}), found.get(user, {})) == [], (user, what)

    def _check_proofs(self) -> None:
        """What drills have proven since the last look can be restored from there; what they have not is
        damaged."""
        record = Proofs(self.staging)
        now = self.service.now()
        newest = max((one.id for one in record.drills(1)), default=0)
        for proof in record.all():
            assert proof.tried <= now
            assert proof.proven is None or proof.proven <= proof.tried
            if proof.drill > self._drill:
                self._check_proof(proof)
        self._drill = newest

    def _check_proof(self, proof: Proof) -> None:
        if proof.outcome == "failed":
            self.refuted += 1
            assert proof.place in ("", self.frail), proof
            assert self.hurt_there, proof
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

    def lose_staging(self) -> None:
        """The queue is lost with it."""
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
        for kinds in self.rng.choices(self.kinds(), [2, 3, 5], k=STEPS):
            self.step(self.rng.choice(kinds))
        last = [self.come_back, self._with_all_known, self._drain, self._check_all, self._heal]
        for step in (*last, self._sweep_all, self._prove_all, self._sweep_all):
            self.step(step)
        self._restore_all()
        self._alone(self.rng.choice(self.copies))

    def _check_all(self) -> None:
        super()._check_all()
        self.hurt_there.clear()

    def _prove_all(self) -> None:
        """When all is well everybody is proven within the nights that the numbers say, and nothing lasts of
        what was said of drills."""
        nights = 2 * len(self.copies) * drills_for_all(SAMPLE, len(USERS))
        for _ in range(nights):
            self.clock.ahead_seconds += 24 * 3600
            self._put_in("drill", ())
            self._drain()
            if all(one.outcome == "proven" for one in Proofs(self.staging).all()):
                break
        lasting = [one.notice.cause for one in NoticeRecord(self.staging).lasting(("drill-failed",))]
        assert lasting == []


@pytest.mark.parametrize("part", range(PARTS))
def test_what_the_service_says_is_so(tmp_path: Path, rounds: int, part: int) -> None:
    sums: dict[str, int] = {}
    for seed in range(part * 1_000_000, part * 1_000_000 + max(1, rounds // 100)):
        place, clock = tmp_path / str(seed), Shifted()
        with told_by(clock):
            history = Served(place, random.Random(seed), clock)
            try:
                lived_through(history, seed)
            finally:
                history.service.kill_all()
        for what in ("operations", "stops", "deaths", "killed", "proven", "refuted", "counted"):
            sums[what] = sums.get(what, 0) + getattr(history, what)
        shutil.rmtree(place)
    print(sums)
    assert sums["operations"]
    assert sums["proven"]
