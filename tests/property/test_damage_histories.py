"""Histories of backups and of damage: mail comes and goes, archives are hurt in every way, repaired, purged,
the catalog is made again, runs are ended in the middle. What a backup says to be done can be restored
exactly, and a restore that says that all is well has given back what was there.

Speaks to nothing but the command line.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.proto.archive.frames import HEADER_BYTES
from mailhaul.proto.errors import DamagedError

from ..archives import frames_of
from ..histories import PARTS, History, Mail, lived, mail_at, seeds
from ..trees import differences
from ..verifying import interrupted_after

STEPS = 18

_RECORDS = (
    "purged.jsonl",
    "accepted.jsonl",
    "holds.json",
    "purge.json",
    "verify.json",
    "run-id",
    "status.json",
)
"""What lies beside the catalog."""


class Damaged(History):
    """A history in which archives are damaged. ``hurt``: they were since the last ``verify --fix``, so that
    nobody can know of it yet. ``moments`` is the mail at each run that was told to be done."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        super().__init__(place, rng)
        self.hurt = False
        self.moments: dict[str, Mail] = {}
        self._copies: list[tuple[str, bytes]] = []
        self._forgetful = (
            False  # runs that were purged may come back, and with them losses that were accepted
        )

    # What happens to the archives

    def flip(self) -> None:
        """Some byte of any frame."""
        self._change(self._flip)

    def _flip(self, data: bytearray) -> None:
        at = self.rng.randrange(len(data))
        with suppress(DamagedError):
            frame = self.rng.choice(frames_of(bytes(data)))
            at = frame.at + 2
            if self.rng.random() < 0.8 and frame.end > frame.at + HEADER_BYTES:
                at = self.rng.randrange(frame.at + HEADER_BYTES, frame.end)
        data[min(at, len(data) - 1)] ^= 1 << self.rng.randrange(8)

    def zero(self) -> None:
        def change(data: bytearray) -> None:
            at = self.rng.randrange(len(data))
            length = self.rng.choice([16, 512, 4096])
            data[at : at + length] = bytes(len(data[at : at + length]))

        self._change(change)

    def cut(self) -> None:
        self._change(self._cut)

    def _cut(self, data: bytearray) -> None:
        del data[self.rng.randrange(len(data)) :]

    def insert(self) -> None:
        self._change(self._insert)

    def _insert(self, data: bytearray) -> None:
        at = self.rng.randrange(len(data))
        data[at:at] = self.rng.randbytes(self.rng.choice([1, 80]))

    def lose(self) -> None:
        if archives := self.archives():
            self.rng.choice(archives).unlink()
            self.hurt = True

    def swap(self) -> None:
        if self._swap(self.archives()):
            self.hurt = True

    def _swap(self, files: Sequence[Path]) -> bool:
        """Whether there were two."""
        if len(files) < 2:
            return False
        path, other = self.rng.sample(files, 2)
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        if self.rng.random() < 0.5:
            other.write_bytes(first)
        return True

    def keep_copy(self) -> None:
        if archives := self.archives():
            chosen = self.rng.choice(archives)
            self._copies.append((str(chosen.relative_to(self.staging)), chosen.read_bytes()))

    def bring_back(self) -> None:
        """An old copy comes back, in its own place or in that of another."""
        if self._copies:
            name, data = self.rng.choice(self._copies)
            place = self.staging / name
            if self.rng.random() < 0.3 and (archives := self.archives()):
                place = self.rng.choice(archives)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            self.hurt = True

    def _change(self, change: Callable[[bytearray], None]) -> None:
        if self._changed(change, self.archives()):
            self.hurt = True

    def _changed(self, change: Callable[[bytearray], None], files: Sequence[Path]) -> bool:
        """Change one of these files; whether there was one with anything in it."""
        full = [file for file in files if file.stat().st_size]
        if not full:
            return False
        chosen = self.rng.choice(full)
        data = bytearray(chosen.read_bytes())
        change(data)
        chosen.write_bytes(data)
        return True

    def archives(self) -> list[Path]:
        return sorted(self.staging.glob("[!.]*/*/*.mha"))

    # What happens to what lies beside them

    def hurt_run_archive(self) -> None:
        """What tells how a run ended, and which archives it made. No mail lies in it."""
        files = sorted(self.staging.glob("_runs/*/*.mhr"))
        how = self.rng.choice(["flip", "cut", "insert", "lose", "swap"])
        if how == "swap":
            self._swap(files)
        elif how != "lose":
            self._changed({"flip": self._flip, "cut": self._cut, "insert": self._insert}[how], files)
        elif files:
            self.rng.choice(files).unlink()

    def hurt_record(self) -> None:
        """A record beside the catalog is cut or lost. What can't do without says so, until it is removed:
        then what it told is not known any more."""
        file = self.staging / ".mailhaul" / self.rng.choice(_RECORDS)
        if not file.exists():
            return
        tells_of_purges = file.name == "purged.jsonl"
        self._forgetful = self._forgetful or tells_of_purges
        if self.rng.random() < 0.5:
            self._changed(self._cut, [file])
            if tells_of_purges:
                self.purged.clear()
            self.step(self.rng.choice([self.verify, self.purge, self.rebuild, self.back_up]))
        file.unlink(missing_ok=True)
        if tells_of_purges:
            self.purged.clear()  # also what was noted meanwhile: the cut record still told of some

    def keep_catalog(self) -> None:
        if self.catalog().exists():
            self._copies.append((str(self.catalog().relative_to(self.staging)), self.catalog().read_bytes()))

    # Commands

    def back_up(self) -> None:
        options = self.rng.choice([(), (), (), ("--full",), ("--self-contained",), ("--thorough",)])
        self._backed_up(*options)

    def interrupted(self) -> None:
        """The program ends in the middle of a run, or just when an archive is sealed that the catalog does
        not know yet. Then the run may go on, though something was damaged meanwhile."""
        before = {run["run"] for run in self.runs()}
        self._backed_up(outcomes=self.rng.choice([0, 1, 2, 3]))
        begun = sorted({one["run"] for one in self.runs()} - before)
        if self.status == 1 and begun and self.rng.random() < 0.6:
            if self.rng.random() < 0.3:
                self.step(self.rng.choice([self.flip, self.cut, self.lose, self.swap, self.fix]))
            self._backed_up("--resume", begun[-1])

    def _backed_up(self, *options: str, outcomes: int = 1000) -> Any:
        now = mail_at(self.store)
        with interrupted_after(outcomes, fires=False):
            done = self.command("backup", *options, *self.workers(), status=(0, 1, 3, 4))
        if self.status not in (0, 3):
            return done
        run = done["run"]
        self.moments[run] = now
        if not self.hurt and not done["skipped"] and not done["failures"]:
            assert self._restored(run), f"{run} was told to be done, and can't be restored: {done}"
        return done

    def stream(self) -> None:
        """All into one file: it holds all; and where it is damaged, it says so."""
        file, now = self.place / "stream.mha", mail_at(self.store)
        file.unlink(missing_ok=True)
        self.command("backup", "-f", str(file), status=(0,))
        assert self._gives(now, "-f", str(file)), "a stream was written and can't be restored"
        self._changed(self.rng.choice([self._flip, self._insert]), [file])
        self._gives(now, "-f", str(file))

    def verify(self) -> None:
        options = [(), ("--data",), ("--sample", "40%"), ("--data", "--sample", "40%")]
        self.command("verify", *self.rng.choice(options), status=(0, 1, 4))

    def accept(self) -> None:
        """What is lost for good is known. (That changes nothing of what a backup has to do.)"""
        self.command("verify", "--accept", status=(0, 1, 4))

    def fix(self) -> None:
        self.command("verify", "--fix", *self.rng.choice([(), ("--data",)]), status=(0, 1, 4))
        if self.status != 1:
            self.hurt = False

    def purge(self) -> None:
        self.command("purge", "--last", str(self.rng.choice([1, 2, 3])), status=(0, 1, 3, 4))
        self.note_purged()

    def hold(self) -> None:
        kept = [run["run"] for run in self.runs() if not run["purged"]]
        what = self.rng.choice([f"/primary/user/{self.user()}", *kept[:2]])
        self.command("hold", what, status=(0, 1, 4))

    def release(self) -> None:
        for hold in self.command("hold", status=(0,))["holds"][:1]:
            self.command("release", hold["path"] or hold["run"], status=(0,))

    def rebuild(self) -> None:
        if self.rng.random() < 0.5:
            self.lose_catalog()
        self.command("catalog rebuild", status=(0, 1, 3, 4))
        self.note_purged()

    def restore_any(self) -> None:
        if self.moments:
            self._restored(self.rng.choice(list(self.moments)))

    def _restored(self, run: str) -> bool:
        """Restore a moment: whether that says that all is there. Then it is."""
        return self._gives(self.moments[run], "--at", run)

    def _gives(self, mail: Mail, *source: str) -> bool:
        """Restore from there: whether that says that all is there. Then it is this mail."""
        target = self.place / "restored"
        where = (*source, "--to", f"maildir:{target}/{{user}}")
        done = self.command("restore", "/", *where, status=(0, 1, 3, 4))
        try:
            if self.status:
                return False
            assert done["damaged"] == done["skipped"] == []
            found = mail_at(target)
            for user in mail.keys() | found.keys():
                assert differences(mail.get(user, {}), found.get(user, {})) == [], (source, user)
            return True
        finally:
            shutil.rmtree(target, ignore_errors=True)

    # The whole

    def live(self) -> None:
        """Any mixture of all this; in the end all is well again."""
        self.step(self.back_up)
        mail = [self.deliver, self.deliver, self.expunge, self.move, self.flag, self.drop_folder]
        mail += [self.drop_user, self.come, self.regroup, self.split]
        damage = [self.flip, self.flip, self.zero, self.cut, self.insert, self.lose, self.swap]
        damage += [self.keep_copy, self.keep_copy, self.keep_catalog, self.bring_back, self.bring_back]
        damage += [self.hurt_run_archive, self.hurt_record, self.lose_catalog]
        work = [self.back_up] * 6 + [self.fix] * 3 + [self.purge] * 2 + [self.rebuild] * 2
        work += [self.interrupted] * 2 + [self.hold, self.release, self.stream]
        work += [self.verify, self.accept, self.restore_any]
        for kinds in self.rng.choices([mail, damage, work], [3, 2, 5], k=STEPS):
            self.step(self.rng.choice(kinds))
        if not self.catalog().exists():
            self.step(self.rebuild)
        for step in (
            self.fix,
            self.deliver,
            self._heal,
            self.fix,
            self._heal,
            self._accept,
            self._from_files,
        ):
            self.step(step)

    def _heal(self) -> None:
        done = self._backed_up()
        assert (self.status, done["state"], done["skipped"]) == (0, "done", []), done

    def _accept(self) -> None:
        """What is lost for good is known then, and stays so."""
        accepted = self.command("verify", "--accept", status=(0, 4))["accepted"]
        if self.status:
            self.command("verify", "--fix", status=(4,))  # what others hold was not filled in yet
            accepted = self.command("verify", "--accept", status=(0,))["accepted"]
        self.lose_catalog()
        self.command("catalog rebuild", status=(0, 3, 4))
        self.note_purged()
        after = self.command("verify", status=(0, 4))["accepted"]
        assert self._forgetful or len(after) <= len(accepted)

    def _from_files(self) -> None:
        """With nothing but the archives: the newest state of all, and nobody who was removed before."""
        with Catalog.open(self.staging) as catalog:
            files = [str(self.staging / location.name) for location, *_ in catalog.locations().values()]
        self._gives(mail_at(self.store), *(part for file in files for part in ("-f", file)))


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_told_is_true_whatever_happened(tmp_path: Path, rounds: int, part: int) -> None:
    for seed in seeds(rounds, part):
        place = tmp_path / str(seed)
        history = Damaged(place, random.Random(seed))
        try:
            lived(history.live, history.rng)
        except BaseException as error:
            error.add_note(f"seed {seed}, in {place}:\n  " + "\n  ".join(history.told))
            raise
        shutil.rmtree(place)
