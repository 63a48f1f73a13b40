"""Histories of backups and of damage: mail comes and goes, archives are hurt in every way, repaired, purged,
the catalog is made again, runs are ended in the middle. What a backup says to be done can be restored
exactly, and a restore that says that all is well has given back what was there.

Speaks to nothing but the command line.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mailhaul.proto.archive import messages
from mailhaul.proto.archive.frames import HEADER_BYTES
from mailhaul.proto.errors import DamagedError
from mailhaul.worker import gathering

from ..archives import frames_of
from ..maildirs import Maildir
from ..trees import Entry, differences, snapshot
from ..verifying import command_status, interrupted_after, mail_of

FOLDERS = ("", ".Sent", ".Old")
PARTS = 10
STEPS = 16
_SETTLED_SECONDS = 0.025  # a change that is younger may be followed by one that its folder does not show


class History:
    """A store, its backups, and what is known to be true of them. ``hurt``: archives were damaged since the
    last ``verify --fix``, so that nobody can know of it yet."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        self.place = place
        self.staging = place / "staging"
        self.store = place / "store"
        self.rng = rng
        self.told: list[str] = []
        self.steps = 0
        self._status = 0
        self.hurt = False
        self.moments: dict[str, dict[bytes, Entry]] = {}
        self._copies: list[tuple[str, bytes]] = []
        self._number = 0
        for user in ("ann", "bob", "cay"):
            for folder in FOLDERS[:2]:
                self._deliver(user, folder)

    # What happens to the mail

    def deliver(self) -> None:
        for _ in range(self.rng.choice([1, 1, 3])):
            self._deliver(self._user(), self.rng.choice(FOLDERS))

    def _deliver(self, user: str, folder: str) -> None:
        self._number += 1
        box = Maildir(self.store / user)
        box.folder(folder)
        content = b"Subject: %d\n\n" % self._number
        content += self.rng.choice([b"", b"the same for many\n" * 9, self.rng.randbytes(200).hex().encode()])
        box.message(f"{self._number}.M1P1.host:2,S", content, folder)

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
        shutil.rmtree(self.store / self._user() / self.rng.choice(FOLDERS[1:]), ignore_errors=True)

    def drop_user(self) -> None:
        if len(list(self.store.iterdir())) > 2:
            shutil.rmtree(self.store / self._user())

    def _user(self) -> str:
        return self.rng.choice(sorted(path.name for path in self.store.iterdir()))

    # What happens to the archives

    def flip(self) -> None:
        """Some byte of any frame."""

        def change(data: bytearray) -> None:
            at = self.rng.randrange(len(data))
            with suppress(DamagedError):
                frame = self.rng.choice(frames_of(bytes(data)))
                at = frame.at + 2
                if self.rng.random() < 0.8 and frame.end > frame.at + HEADER_BYTES:
                    at = self.rng.randrange(frame.at + HEADER_BYTES, frame.end)
            data[min(at, len(data) - 1)] ^= 1 << self.rng.randrange(8)

        self._change(change)

    def zero(self) -> None:
        def change(data: bytearray) -> None:
            at = self.rng.randrange(len(data))
            length = self.rng.choice([16, 512, 4096])
            data[at : at + length] = bytes(len(data[at : at + length]))

        self._change(change)

    def cut(self) -> None:
        def change(data: bytearray) -> None:
            del data[self.rng.randrange(len(data)) :]

        self._change(change)

    def insert(self) -> None:
        def change(data: bytearray) -> None:
            at = self.rng.randrange(len(data))
            data[at:at] = self.rng.randbytes(self.rng.choice([1, 80]))

        self._change(change)

    def lose(self) -> None:
        if archives := self.archives():
            self.rng.choice(archives).unlink()
            self.hurt = True

    def swap(self) -> None:
        archives = self.archives()
        if len(archives) > 1:
            one, other = self.rng.sample(archives, 2)
            first, second = one.read_bytes(), other.read_bytes()
            one.write_bytes(second)
            if self.rng.random() < 0.5:
                other.write_bytes(first)
            self.hurt = True

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
        archives = [one for one in self.archives() if one.stat().st_size]
        if archives:
            chosen = self.rng.choice(archives)
            data = bytearray(chosen.read_bytes())
            change(data)
            chosen.write_bytes(data)
            self.hurt = True

    def archives(self) -> list[Path]:
        return sorted(self.staging.glob("[!.]*/*/*.mha"))

    # Commands

    def back_up(self) -> None:
        options = self.rng.choice([(), (), (), ("--full",), ("--self-contained",), ("--thorough",)])
        self._backed_up(options)

    def interrupted(self) -> None:
        """The program ends in the middle of a run, or just when an archive is sealed that the catalog does
        not know yet."""
        self._backed_up(outcomes=self.rng.choice([0, 1, 2]))

    def _backed_up(self, options: tuple[str, ...] = (), outcomes: int = 1000) -> Any:
        now = snapshot(self.store, times=False)
        store = ("--store", f"maildir:{self.store}")
        with interrupted_after(outcomes, fires=False):
            done = self._command("backup", *store, *options, status=(0, 1, 3, 4))
        if self._status not in (0, 3):
            return done
        run = done["run"]
        self.moments[run] = now
        if not self.hurt and not done["skipped"]:
            assert self._restored(run), f"{run} was told to be done, and can't be restored: {done}"
        return done

    def verify(self) -> None:
        self._command("verify", *self.rng.choice([(), ("--data",)]), status=(0, 1, 4))

    def fix(self) -> None:
        self._command("verify", "--fix", *self.rng.choice([(), ("--data",)]), status=(0, 1, 4))
        if self._status != 1:
            self.hurt = False

    def purge(self) -> None:
        self._command("purge", "--last", str(self.rng.choice([1, 2, 3])), status=(0, 1, 3, 4))

    def rebuild(self) -> None:
        (self.staging / ".mailhaul" / "catalog.sqlite").unlink(missing_ok=True)
        self._command("catalog rebuild", status=(0, 1, 3, 4))

    def restore_any(self) -> None:
        if self.moments:
            self._restored(self.rng.choice(list(self.moments)))

    def _restored(self, run: str) -> bool:
        """Restore a moment: whether that says that all is there. Then it is."""
        target = self.place / "restored"
        where = ("--at", run, "--to", f"maildir:{target}")
        done = self._command("restore", "/", *where, status=(0, 1, 3, 4))
        try:
            if self._status:
                return False
            assert done["damaged"] == done["skipped"] == []
            found = mail_of(snapshot(target, times=False)) if target.exists() else {}
            assert differences(mail_of(self.moments[run]), found) == [], run
            return True
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def _command(self, name: str, *options: str, status: tuple[int, ...]) -> Any:
        self._status, told = command_status(name, "--staging", self.staging, *options)
        self.told.append(f"{name} {' '.join(options)}: {self._status}")
        assert self._status in status, told
        return told

    # The whole

    def live(self) -> None:
        """Any mixture of all this; in the end all is well again."""
        self._step(self.back_up)
        mail = [self.deliver, self.deliver, self.expunge, self.move, self.flag, self.drop_folder]
        damage = [self.flip, self.flip, self.zero, self.cut, self.insert, self.lose, self.swap]
        damage += [self.keep_copy, self.keep_copy, self.bring_back]
        work = [self.back_up] * 5 + [self.fix, self.fix, self.purge, self.rebuild, self.interrupted]
        work += [self.verify, self.restore_any]
        for kinds in self.rng.choices([mail, damage, work], [3, 2, 5], k=STEPS):
            self._step(self.rng.choice([*kinds, self.drop_user] if kinds is mail else kinds))
        for step in (self.fix, self.deliver, self._heal, self.fix, self._heal, self._accept):
            self._step(step)

    def _heal(self) -> None:
        done = self._backed_up()
        assert (self._status, done["state"], done["skipped"]) == (0, "done", []), done

    def _accept(self) -> None:
        """What is lost for good is known then, and stays so."""
        accepted = self._command("verify", "--accept", status=(0, 4))["accepted"]
        if self._status:
            self._command("verify", "--fix", status=(4,))  # what others hold was not filled in yet
            accepted = self._command("verify", "--accept", status=(0,))["accepted"]
        (self.staging / ".mailhaul" / "catalog.sqlite").unlink()
        self._command("catalog rebuild", status=(0, 3, 4))
        assert len(self._command("verify", status=(0, 4))["accepted"]) <= len(accepted)

    def _step(self, step: Callable[[], None]) -> None:
        self.told.append(step.__name__.strip("_"))
        step()
        time.sleep(_SETTLED_SECONDS)


def lived(history: History) -> None:
    """Let a history happen; half of them with so small limits that mailboxes have several frames, and that
    metadata is gathered anew every few nights."""
    with ExitStack() as stack:
        if history.rng.random() < 0.5:
            stack.enter_context(patch.object(messages, "MOST_MESSAGES", 2))
            stack.enter_context(patch.object(gathering, "MOST_ARCHIVES", 3))
            stack.enter_context(patch.object(gathering, "_LEFT", 2))
        history.live()


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_told_is_true_whatever_happened(tmp_path: Path, rounds: int, part: int) -> None:
    for number in range(max(5, rounds // PARTS // 2 if rounds < 1000 else rounds // PARTS)):
        seed = part * 1_000_000 + number
        place = tmp_path / str(number)
        history = History(place, random.Random(seed))
        try:
            lived(history)
        except BaseException as error:
            error.add_note(f"seed {seed}, in {place}:\n  " + "\n  ".join(history.told))
            raise
        shutil.rmtree(place)
