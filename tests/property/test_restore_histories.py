"""Histories of restores into a store that people use: whole ones, ones that are killed before any step, gone
on with, tried again; new backups and purges; mail that comes, goes and is flagged in the target meanwhile.
Each leaves exactly what its journal and its moment say: every message once, nothing lost that was there.

Speaks to the command line, in this process; what is killed is a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from ..faults.killed import killed_at
from ..faults.test_restore_steps import ON_DISK
from ..histories import History, Mail, lived, mail_at, seeds
from ..maildirs import Maildir
from ..trees import differences, names_of_files

STEPS = 14
MOST_STEPS_ON_DISK = 300

TEMPORARY = ".mailhaul-restore-"

Contents = dict[tuple[str, bytes], Counter[bytes]]
"""How often each content is in each folder of each user."""


def contents_of(mail: Mail) -> Contents:
    found: Contents = {}
    for user, entries in mail.items():
        for where, entry in entries.items():
            if user.startswith(TEMPORARY) or TEMPORARY.encode() in where:
                continue
            folder = where.rpartition(b"/")[0].rpartition(b"/")[0]
            found.setdefault((user, folder), Counter())[entry[5]] += 1
    return found


def restored_into(there: Contents, moment: Contents, users: set[str]) -> Contents:
    """What is there when the mail of these users has been restored: each file stands for one message."""
    return {
        where: there.get(where, Counter())
        | (moment.get(where, Counter()) if where[0] in users else Counter())
        for where in there.keys() | moment.keys()
    }


def without_empty(contents: Contents) -> Contents:
    return {where: counts for where, counts in contents.items() if counts}


class Restores(History):
    """A history of restores into ``target``. ``seen`` is the mail of each run."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        super().__init__(place, rng)
        self.target = place / "target"
        self.to = ("--to", f"maildir:{self.target}/{{user}}")
        self.seen: dict[str, Mail] = {}

    # The source

    def deliver_to_all(self) -> None:
        """One file in the INBOX of each user."""
        self._number += 1
        users = sorted(path for path in self.store.iterdir())
        first = Maildir(users[0]).message(f"{self._number}.M2P1.host:2,", b"to all: %d\n" % self._number)
        for user in users[1:]:
            os.link(first, Maildir(user).root / "cur" / first.name)

    def back_up(self) -> None:
        mail = mail_at(self.store)
        done = self.command("backup", "/", *self.workers(), status=(0,))
        self.seen[done["run"]] = mail

    def purge(self) -> None:
        self.command("purge", "--last", str(self.rng.choice([1, 2, 3])), status=(0,))
        self.note_purged()

    # The target, as people use it

    def _somewhere(self) -> list[Path]:
        """Messages that can be seen."""
        found = sorted(self.target.glob("[!.]*/**/cur/*"))
        return [path for path in found if TEMPORARY not in str(path)]

    def expunge_there(self) -> None:
        for path in self.rng.sample(there := self._somewhere(), min(len(there), 3)):
            path.unlink()

    def flag_there(self) -> None:
        for path in self.rng.sample(there := self._somewhere(), min(len(there), 3)):
            path.rename(path.with_name(path.name.partition(":")[0] + ":2,FS"))

    def deliver_there(self) -> None:
        self._number += 1
        for user in self.target.glob("[!.]*"):
            if (user / "cur").is_dir() and self.rng.random() < 0.5:
                Maildir(user).message(f"{self._number}.M9P9.new:2,", b"new: %d\n" % self._number)

    def lose_there(self) -> None:
        for user in sorted(self.target.glob("[!.]*"))[: self.rng.choice([1, 9])]:
            shutil.rmtree(user)

    # Restores

    def _kept(self) -> list[str]:
        return sorted(run["run"] for run in self.runs() if not run["purged"] and run["run"] in self.seen)

    def _there(self) -> Contents:
        return contents_of(mail_at(self.target))

    def _restores(self) -> list[Path]:
        return sorted((self.staging / ".mailhaul" / "restores").glob("*"))

    def _journal(self, restore: Path) -> set[str]:
        """The users whose mailboxes are done."""
        lines = (restore / "journal.jsonl").read_bytes().split(b"\n")[:-1]
        return {unquote(json.loads(line)["path"].split("/")[3]) for line in lines}

    def _is_whole(self, expected: Contents, users: set[str]) -> None:
        """All is as expected, and in the mailboxes of these users nothing temporary is left."""
        assert without_empty(self._there()) == without_empty(expected)
        for user in users:
            assert not list((self.target / user).rglob(f"{TEMPORARY}*"))

    def restore(self) -> None:
        run, before = self.rng.choice(self._kept()), self._there()
        paths = self._paths(run)
        self.command("restore", *paths, "--at", run, *self.to, status=(0,))
        users = self._users(run, paths)
        self._is_whole(restored_into(before, contents_of(self.seen[run]), users), users)

    def provision(self) -> None:
        run, before = self.rng.choice(self._kept()), self._there()
        self.command("restore", "/", "--provision-only", "--at", run, *self.to, status=(0,))
        self._is_whole(before, set(self.seen[run]))

    def kill(self) -> None:
        """A restore that ends before one of its steps, or has fewer."""
        run, before = self.rng.choice(self._kept()), self._there()
        paths, known = self._paths(run), self._restores()
        step = self.rng.randrange(1, MOST_STEPS_ON_DISK)
        words = ("restore", *paths, "--at", run, *self.to)
        was_killed = killed_at(step, ON_DISK, lambda: self.command(*words, status=(0,)))
        self.told.append(
            f"restore {paths} at {run}: {'killed before' if was_killed else 'done, without'} {step}"
        )
        after = restored_into(before, contents_of(self.seen[run]), self._users(run, paths))
        self._is_between(before, after)
        if was_killed and len(self._restores()) > len(known):
            done = (
                self._journal(self._restores()[-1])
                if (self._restores()[-1] / "journal.jsonl").exists()
                else set()
            )
            there = self._there()
            for where, counts in after.items():
                assert where[0] not in done or there.get(where, Counter()) >= counts, (
                    "what is journaled is there"
                )

    def resume(self) -> None:
        """Go on with the newest restore, if it was ended early."""
        newest = self._restores()[-1:]
        before, killed = self._there(), self.rng.random() < 0.3
        if not newest or not (newest[0] / "order.json").exists() or (newest[0] / "state.json").exists():
            self.command("restore", "--resume", "latest", status=(1,))
            return
        order = json.loads((newest[0] / "order.json").read_text())
        arguments, done = order["arguments"], self._journal(newest[0])
        run = arguments[arguments.index("--at") + 1]
        if run not in self._kept():
            self.command("restore", "--resume", "latest", status=(1,))
            assert self._there() == before
            return
        paths = tuple(argument for argument in arguments if argument.startswith("/"))
        left = self._users(run, paths) - done
        after = restored_into(before, contents_of(self.seen[run]), left)
        if killed:
            step = self.rng.randrange(1, MOST_STEPS_ON_DISK)
            killed_at(step, ON_DISK, lambda: self.command("restore", "--resume", "latest", status=(0,)))
            self._is_between(before, after)
        else:
            self.command("restore", "--resume", "latest", status=(0,))
            self._is_whole(after, left)

    def fail_and_retry(self) -> None:
        """Something stands in the way of one user; what is tried again is that mailbox, and nothing else."""
        run = self.rng.choice(self._kept())
        absent = sorted(set(self.seen[run]) - {path.name for path in self.target.glob("[!.]*")})
        if not absent:
            return
        user, before = self.rng.choice(absent), self._there()
        self.target.mkdir(exist_ok=True)
        (self.target / user).write_text("no directory")
        moment, users = contents_of(self.seen[run]), self._users(run, ("/",))
        told = self.command("restore", "/", "--at", run, *self.to, status=(1, 3))
        assert [skip["path"].split("/")[3] for skip in told["skipped"]] == [user]
        (self.target / user).unlink()
        self._is_whole(restored_into(before, moment, users - {user}), users - {user})
        self.rng.choice([self.expunge_there, self.deliver_there, self.flag_there])()
        before = self._there()
        told = self.command("restore", "--retry", "latest", status=(0,))
        assert told["mailboxes"] == 1
        self._is_whole(restored_into(before, moment, {user}), {user})

    def _paths(self, run: str) -> tuple[str, ...]:
        if self.rng.random() < 0.7:
            return ("/",)
        users = sorted(self.seen[run])
        return tuple(f"/primary/user/{user}" for user in self.rng.sample(users, min(2, len(users))))

    def _users(self, run: str, paths: tuple[str, ...]) -> set[str]:
        return set(self.seen[run]) if "/" in paths else {path.split("/")[3] for path in paths}

    def _is_between(self, before: Contents, after: Contents) -> None:
        there = self._there()
        assert there.keys() <= before.keys() | after.keys()
        for where in before.keys() | after.keys():
            counts = there.get(where, Counter())
            assert before.get(where, Counter()) <= counts <= after.get(where, Counter()), where

    def live(self) -> None:
        """Any mixture of all this; in the end all is as it should be."""
        self.step(self.back_up)
        source = [self.deliver, self.deliver, self.deliver_to_all, self.expunge, self.move, self.come]
        target = [self.expunge_there, self.flag_there, self.deliver_there, self.lose_there]
        work: list[Callable[[], None]] = [self.kill] * 4 + [self.resume] * 4 + [self.restore] * 2
        work += [self.fail_and_retry, self.provision, self.back_up, self.purge]
        for kinds in self.rng.choices([source, target, work], [1, 2, 4], k=STEPS):
            self.step(self.rng.choice(kinds))
        self.step(self.deliver_to_all)
        self.step(self.back_up)
        run = self._kept()[-1]
        before = self._there()
        self.command("restore", "/", *self.to, status=(0,))
        users = set(self.seen[run])
        self._is_whole(restored_into(before, contents_of(self.seen[run]), users), users)
        shutil.rmtree(self.target)
        self.command("restore", "/", *self.to, status=(0,))
        found = mail_at(self.target)
        for user in self.seen[run].keys() | found.keys():
            assert differences(self.seen[run].get(user, {}), found.get(user, {})) == [], user
        assert names_of_files(self.target) == names_of_files(self.store)


@pytest.mark.parametrize("part", range(4))
def test_every_message_is_there_once(tmp_path: Path, rounds: int, part: int) -> None:
    for seed in seeds(rounds, part) if rounds > 100 else seeds(rounds, part)[:1]:
        place = tmp_path / str(seed)
        history = Restores(place, random.Random(seed))
        try:
            lived(history.live, history.rng)
        except BaseException as error:
            error.add_note(f"seed {seed}, in {place}:\n  " + "\n  ".join(history.told))
            raise
        shutil.rmtree(place)
