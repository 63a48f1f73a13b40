"""Histories of mail that comes, goes and is flagged, of backups, purges and restores into the live store, and
of restores that are taken back. A restore adds and changes nothing; what it has added and nobody touched goes
when it is taken back, and nothing else does.

Speaks to nothing but the command line.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ..histories import FOLDERS, USERS, History, Mail, lived, mail_at
from ..trees import Entry

Steps = list[tuple[str, int]]
Files = dict[tuple[str, bytes], Entry]


@dataclass(frozen=True)
class Restored:
    """A restore that can be taken back, the files that it has added, and where it was an exact one all that
    was there ``before`` and ``after``. One that ``holds`` its moment met a mailbox of these users; any other
    can be taken back as long as nobody purges that."""

    restore: str
    users: frozenset[str]
    added: Files
    holds: bool
    before: Files | None = None
    after: Files | None = None


class Undoing(History):
    """``restores`` are those that were not taken back, the oldest first."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, random.Random(0))
        self.restores: list[Restored] = []
        self.seen: dict[str, Files] = {}

    def back_up(self) -> None:
        seen = files_of(self.store)
        self.seen[self.command("backup", "/", status=(0,))["run"]] = seen

    def purge(self) -> None:
        self.command("purge", "--last", "1", status=(0,))

    def restore(self) -> None:
        """Anything, as of any moment, into the live store."""
        kept = sorted(run["run"] for run in self.runs() if not run["purged"])
        user, folder = self.rng.choice(["ann", "bob", "cay"]), self.rng.choice(FOLDERS)
        name = folder.removeprefix(".") or "INBOX"
        path = self.rng.choice(["/", "/", f"/primary/user/{user}", f"/primary/user/{user}/{name}"])
        before, there = files_of(self.store), self.users_there()
        options = ("--provision-only",) if self.rng.random() < 0.1 else ()
        done = self.command("restore", path, "--at", self.rng.choice(kept), *options, status=(0, 1))
        after = files_of(self.store)
        if self.status == 1:
            assert done["error"]["code"] == "not-found", done
            assert after == before
            return
        assert (done["undoable"], done["skipped"], done["damaged"]) == (True, [], []), done
        assert before.items() <= after.items(), "a restore adds, and changes nothing"
        added = {where: after[where] for where in after.keys() - before.keys()}
        assert len(added) == done["restored"]
        users = frozenset(mail_at(self.store)) if path == "/" else frozenset([user])
        self.restores.append(Restored(done["restore"], users, added, bool(users & there)))

    def restore_exactly(self) -> None:
        """A mailbox becomes as it was, and nothing of it is lost; a second time nothing changes."""
        kept = sorted(one["run"] for one in self.runs() if not one["purged"])
        run, user = self.rng.choice(kept), self.rng.choice(["ann", "bob", "cay"])
        path = self.rng.choice(["/", f"/primary/user/{user}"])
        before, there = files_of(self.store), self.users_there()
        options = (path, "--exact", "--at", run)
        planned = self.command("restore", *options, "--dry-run", status=(0, 1))
        assert files_of(self.store) == before
        done = self.command("restore", *options, status=(0, 1))
        if self.status == 1:
            assert done["error"]["code"] == "not-found", done
            return
        assert (done["skipped"], done["damaged"]) == ([], []), done
        counts = ("restored", "flagged", "moved", "aside")
        assert [planned[count] for count in counts] == [done[one] for one in counts]
        after = files_of(self.store)
        then = self.seen[run]
        for one in {user for user, _ in then} if path == "/" else {user}:
            assert folders_of(after, one) == folders_of(then, one)
            assert not contents_of(before, one) - contents_of(after, one)
        assert sum(contents_of(before, one).total() for one in USERS) + done["restored"] == sum(
            contents_of(after, one).total() for one in USERS
        )
        again = self.command("restore", *options, status=(0,))
        assert [again[one] for one in counts] == [0, 0, 0, 0]
        assert files_of(self.store) == after
        users = frozenset(USERS) if path == "/" else frozenset([user])
        self.restores.append(Restored(done["restore"], users, {}, bool(users & there), before, after))
        self.restores.append(Restored(again["restore"], users, {}, holds=True))

    def undo(self) -> None:
        """The last restore is taken back, or an earlier one, if no later one changed the same mail."""
        if not self.restores:
            return
        chosen = self.restores[self.rng.choice([-1, -1, 0])]
        if chosen.before is not None:
            self._undo_exactly(chosen)
            return
        before = files_of(self.store)
        untouched = {where for where, entry in chosen.added.items() if before.get(where) == entry}
        planned = self.planned(chosen)
        if self.status == 2:
            assert any(
                restore.users & chosen.users for restore in self.restores if restore.restore > chosen.restore
            )
        if planned is None:
            return
        assert files_of(self.store) == before
        done = self.command("restore", "--undo", chosen.restore, status=(0, 3))
        assert planned["removed"] == done["removed"] == len(untouched)
        assert {skip["reason"] for skip in done["skipped"]} <= {"touched"}
        rest = {where: entry for where, entry in before.items() if where not in untouched}
        assert files_of(self.store) == rest
        self.restores.remove(chosen)
        again = self.command("restore", "--undo", chosen.restore, status=(0, 3))
        assert (again["removed"], files_of(self.store)) == (0, rest)

    def planned(self, chosen: Restored) -> Any:
        """What taking a restore back would do; None where a later one comes first, or the moment is purged.
        Then neither can those before it be taken back that changed the same mailboxes."""
        planned = self.command("restore", "--undo", chosen.restore, "--dry-run", status=(0, 1, 2, 3))
        if self.status == 2:
            assert chosen is not self.restores[-1]
            return None
        if self.status != 1:
            return planned
        assert planned["error"]["code"] == "not-found", planned
        assert not chosen.holds
        assert planned["error"]["facts"]["run"] in {run["run"] for run in self.runs() if run["purged"]}
        stays, taken = set(chosen.users), []
        for restore in reversed(self.restores):
            if restore is chosen or (restore.restore < chosen.restore and restore.users & stays):
                stays |= restore.users
            else:
                taken.append(restore)
        self.restores = taken[::-1]
        return None

    def users_there(self) -> frozenset[str]:
        return frozenset(path.name for path in self.store.iterdir())

    def _undo_exactly(self, chosen: Restored) -> None:
        """Where nobody has done anything since, all is as it was; else what was done since stays."""
        before = files_of(self.store)
        planned = self.planned(chosen)
        if planned is None:
            return
        done = self.command("restore", "--undo", chosen.restore, status=(0, 3))
        counts = ("removed", "flagged", "moved")
        assert [planned[count] for count in counts] == [done[one] for one in counts]
        after = files_of(self.store)
        assert chosen.before is not None
        assert chosen.after is not None
        if before == chosen.after:
            assert done["skipped"] == []
            assert after == chosen.before
        # What has got other flags since keeps them, also where it goes back to its folder.
        came = {where: before[where] for where in before.keys() - chosen.after.keys()}
        assert flagged(came) <= flagged(after)
        lost = sum((contents_of(before, user) - contents_of(after, user)).total() for user in USERS)
        assert lost == done["removed"]
        self.restores.remove(chosen)
        again = self.command("restore", "--undo", chosen.restore, status=(0, 3))
        assert [again[one] for one in counts] == [0, 0, 0]
        assert files_of(self.store) == after

    def live(self, steps: Steps) -> None:
        """What the steps say, each with its own chance; in the end all restores are taken back."""
        self.step(self.back_up)
        known: dict[str, Callable[[], None]] = {
            step.__name__: step for step in (self.deliver, self.come, self.expunge, self.move, self.flag)
        }
        known |= {step.__name__: step for step in (self.drop_folder, self.drop_user)}
        known |= {step.__name__: step for step in (self.back_up, self.purge, self.restore, self.undo)}
        known["restore_exactly"] = self.restore_exactly
        for name, chance in steps:
            self.rng = random.Random(chance)
            self.step(known[name])
        while self.restores:
            self.rng = random.Random(3)
            self.step(self.undo)


def files_of(store: Path) -> Files:
    """The messages of a store, by user and name."""
    mail: Mail = mail_at(store)
    return {(user, where): entry for user, of_user in mail.items() for where, entry in of_user.items()}


def folders_of(files: Files, user: str) -> dict[bytes, Counter[tuple[bytes, bytes]]]:
    """The messages of a user by folder, each by its flags and its content; without those set aside."""
    found: dict[bytes, Counter[tuple[bytes, bytes]]] = {}
    for (whose, where), entry in files.items():
        folder, _, name = where.replace(b"/new/", b"/cur/").rpartition(b"cur/")
        if whose == user and not folder.startswith(b".Set aside "):
            flags = name.partition(b":2,")[2]
            found.setdefault(folder, Counter())[flags, bytes(entry[-1])] += 1
    return found


def contents_of(files: Files, user: str) -> Counter[bytes]:
    """What a user has, wherever it lies."""
    return Counter(bytes(entry[-1]) for (whose, _), entry in files.items() if whose == user)


def flagged(files: Files) -> Counter[tuple[str, bytes, bytes]]:
    """The messages of all users by flags and content, wherever they lie."""
    return Counter(
        (user, where.partition(b":2,")[2], bytes(entry[-1])) for (user, where), entry in files.items()
    )


FLAGGED_SINCE: Steps = [
    *[("restore", 86), ("restore_exactly", 365), ("deliver", 2386), ("deliver", 65535)],
    *[("restore_exactly", 473), ("deliver", 3918), ("move", 553), ("deliver", 0), ("deliver", 0)],
    *[("restore_exactly", 0), ("flag", 0)],
]
"""A message that an exact restore has moved back gets another flag before that is taken back."""

PURGED_SINCE: Steps = [("drop_user", 0), ("restore", 7953), ("back_up", 0), ("purge", 0)]
"""A mailbox that was not there is restored of a moment that is purged before that is taken back."""

KINDS = ["deliver", "come", "expunge", "expunge", "move", "flag", "drop_folder", "drop_user"]
KINDS += ["back_up", "purge", "restore", "restore", "undo", "restore_exactly"]


def test_what_was_added_goes_and_nothing_else(tmp_path: Path, rounds: int) -> None:
    numbers = itertools.count()

    @settings(max_examples=max(5, rounds // 10))
    @example(FLAGGED_SINCE)
    @example(PURGED_SINCE)
    @given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 16)), min_size=4, max_size=14))
    def lives(steps: Steps) -> None:
        place = tmp_path / str(next(numbers))
        history = Undoing(place)
        try:
            lived(lambda: history.live(steps), history.rng)
        except BaseException as error:
            error.add_note("\n  ".join(["", *history.told]))
            raise
        shutil.rmtree(place)

    lives()
