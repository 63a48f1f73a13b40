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
from typing import Any

import pytest

from ..trees import Entry, differences, snapshot
from ..verifying import command_status, interrupted_after, mail_of
from .test_damage_histories import PARTS, History, lived

STEPS = 22

CONFIG = """\
[staging]
path = "{staging}"

[[partition]]
name = "primary"
format = "maildir"
path = "{store}/{{user}}"

[groups]
file = "{place}/groups.conf"
"""

Mail = dict[str, dict[bytes, Entry]]
"""The mail of each user."""


class Calm(History):
    """A history in which archives stay as they are. ``stored`` is the mail of each user as it is in the
    backup, ``seen`` the same at each moment."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        super().__init__(place, rng)
        self.config = place / "mailhaul.toml"
        self.config.write_text(CONFIG.format(staging=self.staging, store=self.store, place=place))
        (place / "groups.conf").write_text("few=a.*\n")
        self.stored: Mail = {}
        self.seen: dict[str, Mail] = {}
        self.unfinished = ""
        self._before: Mail = {}

    # Commands

    def back_up(self) -> None:
        options = [(), (), (), ("--full",), ("--self-contained",), ("--thorough",), ("--codec", "zstd")]
        self._run("/", *self.rng.choice(options))

    def back_up_one(self) -> None:
        """A user by name, or the users of a file: of others the backup tells what it told before."""
        user = self._user()
        if self.rng.random() < 0.5:
            self._run(f"/primary/{'few' if user == 'ann' else 'user'}/{user}", users=[user])
        else:
            listed = self.place / "users"
            listed.write_text(f"{user}\n")
            self._run("/", "--users", str(listed), users=[user])

    def back_up_group(self) -> None:
        if (self.store / "ann").exists():
            self._run("/primary/few", users=["ann"])

    def crash(self) -> None:
        """The program ends in the middle; then the run goes on, or another one begins. (Until then it is not
        known which of its units are in the backup.)"""
        before = set(self._runs())
        with interrupted_after(self.rng.choice([1, 2, 3]), fires=False):
            self._run("/")
        if self._status != 1:
            return
        begun = sorted(set(self._runs()) - before)
        resumed = bool(begun) and self.rng.random() < 0.7
        if resumed:
            self._run("--resume", begun[-1])
        if not resumed or self._status == 1:
            self._run("/")

    def purge(self) -> None:
        self._command("purge", "--last", str(self.rng.choice([1, 2, 3])), status=(0,))

    def hold(self) -> None:
        what = self.rng.choice([f"/primary/user/{self._user()}", *self._kept()[-2:]])
        self._command("hold", what, status=(0,))

    def release(self) -> None:
        for one in self._command("hold", status=(0,))["holds"][:1]:
            self._command("release", one["path"] or one["run"], status=(0,))

    def rebuild(self) -> None:
        (self.staging / ".mailhaul" / "catalog.sqlite").unlink(missing_ok=True)
        self._command("catalog rebuild", status=(0, 3))

    def undelete(self) -> None:
        user, target = self._user(), self.place / "undeleted"
        where = (f"/primary/user/{user}", "--to", f"maildir:{target}")
        self._command("undelete", *where, status=(0, 1))
        shutil.rmtree(target, ignore_errors=True)

    def restore_any(self) -> None:
        kept = self._kept()
        if kept:
            self._restores(self.rng.choice(kept))

    def verify(self) -> None:
        self._command("verify", "--data", status=(0,))

    # What is true then

    def _run(self, *options: str, users: list[str] | None = None) -> None:
        before = _by_user(snapshot(self.store, times=False))
        done = self._command("backup", *options, status=(0, 1, 3))
        if self._status == 1:
            assert "error" in done, done
            return
        assert (done["state"], done["skipped"], done["failures"]) == ("done", [], []), done
        covered = set(before) | set(self.stored) if users is None else set(users)
        self.stored = {
            user: mail
            for user, mail in {**self.stored, **{one: before.get(one, {}) for one in covered}}.items()
            if user not in covered or user in before
        }
        self.seen[done["run"]] = dict(self.stored)

    def _runs(self) -> list[str]:
        if not (self.staging / ".mailhaul" / "catalog.sqlite").exists():
            return []
        return [one["run"] for one in self._command("runs", status=(0,))["runs"]]

    def _kept(self) -> list[str]:
        """The moments of all groups that can be restored."""
        if not (self.staging / ".mailhaul" / "catalog.sqlite").exists():
            return []
        runs = self._command("runs", status=(0,))["runs"]
        return sorted(one["run"] for one in runs if not one["purged"] and one["run"] in self.seen)

    def _restores(self, run: str) -> None:
        target = self.place / "restored"
        where = ("--at", run, "--to", f"maildir:{target}/{{user}}")
        done = self._command("restore", "/", *where, status=(0, 1))
        if self._status == 0:
            found = _by_user(snapshot(target, times=False)) if target.exists() else {}
            for user in self.seen[run].keys() | found.keys():
                assert differences(self.seen[run].get(user, {}), found.get(user, {})) == [], (run, user)
        else:  # one group is not kept as of this run: then each of its mailboxes says so
            assert done["error"]["code"] == "not-found", done
        shutil.rmtree(target, ignore_errors=True)

    def _command(self, name: str, *options: str, status: tuple[int, ...]) -> Any:
        self._status, told = command_status(f"--config {self.config} {name}", *options)
        self.told.append(f"{name} {' '.join(options)}: {self._status}")
        assert self._status in status, told
        return told

    def live(self) -> None:
        """Any mixture of all this; in the end every moment that is kept is there."""
        self._step(self.back_up)
        mail = [
            self.deliver,
            self.deliver,
            self.expunge,
            self.move,
            self.flag,
            self.drop_folder,
            self.drop_user,
        ]
        work: list[Callable[[], None]] = [self.back_up] * 4 + [self.back_up_one] * 2
        work += [self.back_up_group, self.crash, self.purge, self.hold, self.release, self.rebuild]
        work += [self.undelete, self.restore_any, self.verify]
        for kinds in self.rng.choices([mail, work], [3, 4], k=STEPS):
            self._step(self.rng.choice(kinds))
        self._step(self.back_up)
        self._step(self.verify)
        kept = self._kept()
        assert kept
        for run in kept:
            self._restores(run)
        self._restores_newest(kept[-1])

    def _restores_newest(self, run: str) -> None:
        self._restores(run)
        assert self._status == 0, "the last moment can always be restored"


def _by_user(tree: dict[bytes, Entry]) -> Mail:
    found: Mail = {}
    for where, entry in mail_of(tree).items():
        user, _, rest = where.partition(b"/")
        found.setdefault(user.decode(), {})[rest] = entry
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_every_kept_moment_restores_exactly(tmp_path: Path, rounds: int, part: int) -> None:
    for number in range(max(3, rounds // PARTS // 4)):
        seed = part * 1_000_000 + number
        place = tmp_path / str(number)
        history = Calm(place, random.Random(seed))
        try:
            lived(history)
        except BaseException as error:
            error.add_note(f"seed {seed}, in {place}:\n  " + "\n  ".join(history.told))
            raise
        shutil.rmtree(place)
