"""Histories without damage, of all commands in any mixture: backups with options and over parts, runs that go
on after a crash, purges with compaction, holds, rebuilds, undeletes. In the end every kept moment restores
exactly.

Speaks to nothing but the command line.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ..histories import PARTS, History, Mail, lived, mail_at, seeds
from ..trees import differences
from ..verifying import interrupted_after

STEPS = 24


class Calm(History):
    """A history in which archives stay as they are. ``stored`` is the mail of each user as it is in the
    backup, ``seen`` the same at each moment."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        super().__init__(place, rng)
        self.stored: Mail = {}
        self.seen: dict[str, Mail] = {}
        self._stored_in: dict[str, str] = {}

    # Commands

    def back_up(self) -> None:
        options = [(), (), (), ("--full",), ("--self-contained",), ("--thorough",), ("--codec", "zstd")]
        self._run("/", *self.rng.choice(options))

    def back_up_one(self) -> None:
        """A user by name, or the users of a file: of others the backup tells what it told before."""
        user = self.user()
        if self.rng.random() < 0.5:
            self._run(f"/primary/{self.group_of(user)}/{user}", users=[user])
        else:
            listed = self.place / "users"
            listed.write_text(f"{user}\n")
            self._run("/", "--users", str(listed), users=[user])

    def back_up_group(self) -> None:
        """A group by name. (``user`` as a path means everybody.)"""
        group, there = self.group_of(self.user()), mail_at(self.store)
        if group != "user":
            gone = [user for user in self.stored if user not in there and self._stored_in[user] == group]
            self._run(f"/primary/{group}", users=[*filter(lambda u: self.group_of(u) == group, there), *gone])

    def back_up_anew(self) -> None:
        """The catalog is gone: the next backup makes it again."""
        self.lose_catalog()
        self._run("/")

    def crash(self) -> None:
        """The program ends in the middle; then the run goes on, or another one begins. (Until then it is not
        known which of its units are in the backup.)"""
        before = {run["run"] for run in self.runs()}
        with interrupted_after(self.rng.choice([1, 2, 3]), fires=False):
            self._run("/")
        if self.status != 1:
            return
        begun = sorted({one["run"] for one in self.runs()} - before)
        resumed = bool(begun) and self.rng.random() < 0.7
        if resumed:
            self._run("--resume", begun[-1])
        if not resumed or self.status == 1:
            self._run("/")

    def purge(self) -> None:
        self.command("purge", "--last", str(self.rng.choice([1, 2, 3])), status=(0,))
        self.note_purged()

    def hold(self) -> None:
        what = self.rng.choice([f"/primary/user/{self.user()}", *self._kept()[-2:]])
        self.command("hold", what, status=(0, 1))  # of a user who was not backed up yet

    def release(self) -> None:
        for hold in self.command("hold", status=(0,))["holds"][:1]:
            self.command("release", hold["path"] or hold["run"], status=(0,))

    def rebuild(self) -> None:
        if self.rng.random() < 0.5:
            self.lose_catalog()
        self.command("catalog rebuild", status=(0, 3))
        self.note_purged()

    def undelete(self) -> None:
        user, target = self.user(), self.place / "undeleted"
        where = (f"/primary/user/{user}", "--to", f"maildir:{target}")
        self.command("undelete", *where, status=(0, 1))
        shutil.rmtree(target, ignore_errors=True)

    def restore_any(self) -> None:
        kept = self._kept()
        if kept:
            self._restores(self.rng.choice(kept))

    def verify(self) -> None:
        self.command("verify", "--data", status=(0,))

    # What is true then

    def _run(self, *options: str, users: list[str] | None = None) -> None:
        before = mail_at(self.store)
        done = self.command("backup", *options, *self.workers(), status=(0, 1, 3))
        if self.status == 1:
            assert "error" in done, done
            return
        assert (done["state"], done["skipped"], done["failures"]) == ("done", [], []), done
        covered = set(before) | set(self.stored) if users is None else set(users)
        self.stored = {
            user: mail
            for user, mail in {**self.stored, **{one: before.get(one, {}) for one in covered}}.items()
            if user not in covered or user in before
        }
        self._stored_in |= {user: self.group_of(user) for user in covered}
        self.seen[done["run"]] = dict(self.stored)

    def _kept(self) -> list[str]:
        """The moments of all groups that can be restored."""
        return sorted(run["run"] for run in self.runs() if not run["purged"] and run["run"] in self.seen)

    def _restores(self, run: str) -> None:
        target = self.place / "restored"
        where = ("--at", run, "--to", f"maildir:{target}/{{user}}")
        done = self.command("restore", "/", *where, status=(0, 1))
        if self.status == 0:
            found = mail_at(target)
            for user in self.seen[run].keys() | found.keys():
                assert differences(self.seen[run].get(user, {}), found.get(user, {})) == [], (run, user)
        else:  # one group is not kept as of this run: then each of its mailboxes says so
            assert done["error"]["code"] == "not-found", done
        shutil.rmtree(target, ignore_errors=True)

    def live(self) -> None:
        """Any mixture of all this; in the end every moment that is kept is there."""
        self.step(self.back_up)
        mail = [self.deliver, self.deliver, self.expunge, self.move, self.flag, self.drop_folder]
        mail += [self.drop_user, self.come, self.regroup, self.split]
        work: list[Callable[[], None]] = [self.back_up] * 4 + [self.back_up_one] * 2
        work += [self.back_up_group, self.crash, self.purge, self.hold, self.release, self.rebuild]
        work += [self.back_up_anew, self.undelete, self.restore_any, self.verify]
        for kinds in self.rng.choices([mail, work], [3, 4], k=STEPS):
            self.step(self.rng.choice(kinds))
        self.step(self.back_up)
        self.step(self.verify)
        kept = self._kept()
        assert kept
        for run in kept:
            self._restores(run)
        self._restores_newest(kept[-1])

    def _restores_newest(self, run: str) -> None:
        self._restores(run)
        assert self.status == 0, "the last moment can always be restored"


@pytest.mark.parametrize("part", range(PARTS))
def test_every_kept_moment_restores_exactly(tmp_path: Path, rounds: int, part: int) -> None:
    for seed in seeds(rounds, part):
        place = tmp_path / str(seed)
        history = Calm(place, random.Random(seed))
        try:
            lived(history.live, history.rng)
        except BaseException as error:
            error.add_note(f"seed {seed}, in {place}:\n  " + "\n  ".join(history.told))
            raise
        shutil.rmtree(place)
