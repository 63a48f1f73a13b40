"""Histories of a store and its backups, by chance: mail and users come and go, groups are named and split
otherwise, commands are given in any mixture. What the models in ``tests/property/`` have in common.

Speaks to nothing but the command line.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

from mailhaul.groups import sharding
from mailhaul.proto.archive import messages
from mailhaul.worker import folder_backup
from mailhaul.worker.comparing import gathering, matching

from .maildirs import DATE_NS, Maildir
from .trees import Entry, snapshot
from .verifying import command_status, mail_of

FOLDERS = ("", ".Sent", ".Old")
USERS = ("ann", "bob", "cay", "abe", "dot")
GROUPS = ("few=a.*", "few=a.*", "many=a.*", "few=[ab].*", "few=a.*\nrest=c.*", "")
PARTS = 10
_SETTLED_SECONDS = 0.025  # a change that is younger may be followed by one that its folder does not show

CONFIG = """\
[staging]
path = "{staging}"

[[partition]]
name = "primary"
format = "maildir"
path = "{store}/{{user}}"

[groups]
file = "{place}/groups.conf"

[retention]
alarm_share = 1.0
compact_below = {compact_below}
"""

Mail = dict[str, dict[bytes, Entry]]
"""The mail of each user."""


class History:
    """A store, its backups, and what was told while it happened. ``purged`` are the runs that no group can be
    restored from any more."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        self.place = place
        self.staging = place / "staging"
        self.store = place / "store"
        self.rng = rng
        self.told: list[str] = []
        self.purged: set[str] = set()
        self.status = 0
        self._number = 0
        self._workers = "1"
        self._config = place / "mailhaul.toml"
        for user in USERS[:3]:
            for folder in FOLDERS[:2]:
                for _ in range(self.rng.choice([1, 5])):
                    self._deliver(user, folder)
        compact_below = self.rng.choice([0.5, 1.0])
        self._config.write_text(
            CONFIG.format(staging=self.staging, store=self.store, place=place, compact_below=compact_below)
        )
        self.groups = GROUPS[0]
        self.regroup(GROUPS[0])

    # What happens to the mail

    def deliver(self) -> None:
        for _ in range(self.rng.choice([1, 1, 3])):
            self._deliver(self.user(), self.rng.choice(FOLDERS))

    def come(self) -> None:
        """A user who was never there, or who was gone."""
        self._deliver(self.rng.choice(USERS), "")

    def _deliver(self, user: str, folder: str) -> None:
        self._number += 1
        box = Maildir(self.store / user)
        box.folder(folder)
        content = b"Subject: %d\n\n" % self._number
        content += self.rng.choice([b"", b"the same for many\n" * 9, self.rng.randbytes(200).hex().encode()])
        file = box.message(f"{self._number}.M1P1.host:2,S", content, folder)
        # No two messages come in one nanosecond: a file that gets the number of one that is gone is another.
        os.utime(file, ns=(DATE_NS + self._number, DATE_NS + self._number))

    def expunge(self) -> None:
        messages = sorted(self.store.glob("*/cur/*")) + sorted(self.store.glob("*/.*/cur/*"))
        if messages:
            self.rng.choice(messages).unlink()

    def move(self) -> None:
        messages = sorted(self.store.glob("*/cur/*"))
        if messages:
            chosen = self.rng.choice(messages)
            box = Maildir(chosen.parent.parent)
            box.folder(".Sent")
            chosen.rename(box.root / ".Sent" / "cur" / chosen.name)

    def flag(self) -> None:
        messages = sorted(self.store.glob("*/cur/*:2,S"))
        if messages:
            chosen = self.rng.choice(messages)
            chosen.rename(chosen.with_name(chosen.name.replace(":2,S", ":2,RS")))

    def drop_folder(self) -> None:
        shutil.rmtree(self.store / self.user() / self.rng.choice(FOLDERS[1:]), ignore_errors=True)

    def drop_user(self) -> None:
        if len(list(self.store.iterdir())) > 2:
            shutil.rmtree(self.store / self.user())

    def user(self) -> str:
        """One who is there."""
        return self.rng.choice(sorted(path.name for path in self.store.iterdir()))

    # Who is backed up together

    def regroup(self, groups: str | None = None) -> None:
        """Groups have other names, or other users."""
        self.groups = self.rng.choice(GROUPS) if groups is None else groups
        (self.place / "groups.conf").write_text(self.groups + "\n")

    def group_of(self, user: str) -> str:
        """The group that a user is backed up in now."""
        rules = (line.split("=") for line in self.groups.splitlines())
        return next((group for group, expression in rules if re.fullmatch(expression, user)), "user")

    def split(self) -> None:
        """Groups are split into more shards, or fewer."""
        self._workers = self.rng.choice(["1", "2", "3"])

    def workers(self) -> tuple[str, ...]:
        """The option of a backup by which groups are split."""
        return ("--workers", self._workers)

    # Commands

    def catalog(self) -> Path:
        """The file; it need not be there."""
        return self.staging / ".mailhaul" / "catalog.sqlite"

    def lose_catalog(self) -> None:
        """The catalog is gone: the next backup makes it again."""
        for file in self.catalog().parent.glob("catalog.sqlite*"):
            file.unlink()

    def runs(self) -> list[Any]:
        """The runs that the catalog knows."""
        if not self.catalog().exists():
            return []
        return list(self.command("runs", status=(0,))["runs"])

    def note_purged(self) -> None:
        """What is purged now stays so, and what was purged before is so still: in a new catalog, too."""
        runs = self.runs()
        there = {run["run"] for run in runs if not run["purged"]}
        assert not there & self.purged, "a run that was purged has come back"
        self.purged |= {one["run"] for one in runs} - there

    def command(self, name: str, *options: str, status: tuple[int, ...]) -> Any:
        """What a command printed; its exit status, one of these, is in ``status``."""
        self.status, told = command_status(f"--config {self._config} {name}", *options)
        self.told.append(f"{name} {' '.join(options)}: {self.status}")
        assert self.status in status, told
        return told

    def step(self, step: Callable[[], None]) -> None:
        """Let something happen."""
        self.told.append(step.__name__.strip("_"))
        step()
        time.sleep(_SETTLED_SECONDS)


def seeds(rounds: int, part: int) -> range:
    """Those of one of the parts in which a model is tried: 50 histories in all, as many as ``rounds`` from
    1,000 on."""
    count = rounds // PARTS if rounds >= 1000 else max(1, min(rounds, 100) // PARTS // 2)
    return range(part * 1_000_000, part * 1_000_000 + count)


def by_user(tree: dict[bytes, Entry]) -> Mail:
    """The mail of a tree in which each user has a directory."""
    found: Mail = {}
    for where, entry in mail_of(tree).items():
        user, _, rest = where.partition(b"/")
        found.setdefault(user.decode(), {})[rest] = entry
    return found


def mail_at(place: Path) -> Mail:
    """The mail that lies there, of each user; none where there is nothing."""
    return by_user(snapshot(place, times=False)) if place.exists() else {}


class Living(Protocol):
    """A history that can happen."""

    place: Path
    rng: random.Random
    told: list[str]

    def live(self) -> None: ...


def lived_through(history: Living, seed: int) -> None:
    """Let it happen; what did is in the error, if there is any."""
    try:
        lived(history.live, history.rng)
    except BaseException as error:
        error.add_note(f"seed {seed}, in {history.place}:\n  " + "\n  ".join(history.told))
        raise


def lived(live: Callable[[], None], rng: random.Random) -> None:
    """Let a history happen, where groups are worth splitting; half of them with so small limits that
    mailboxes have several frames, and that metadata is gathered anew every few nights; half of them with
    nights that refer to parts of a frame, however few messages these have."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(sharding, "WORTH_SPLITTING_BYTES", 1))
        if rng.random() < 0.5:
            stack.enter_context(patch.object(messages, "MOST_MESSAGES", 2))
            stack.enter_context(patch.object(gathering, "MOST_ARCHIVES", 3))
            stack.enter_context(patch.object(gathering, "_LEFT", 2))
        if rng.random() < 0.5:
            stack.enter_context(patch.object(matching, "FEWEST_ROWS", 1))
            stack.enter_context(patch.object(folder_backup, "_MUCH", 0))
        live()
