"""Histories whose archives are encrypted as people do it: by ``[encryption]`` in the configuration, with a
private key in a file of somebody who restores."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from mailhaul.proto.keys.recipients import write_recipient
from mailhaul.proto.keys.secret_files import Secret, write_secret

from .faults.killed import killed_at
from .histories import mail_at
from .property.test_histories import Calm
from .sealed import PRIVATE, recipient
from .trees import differences

ENCRYPTION = """
[encryption]
recipients = ["{public}"]
required = true

[[destination]]
name = "vault"
kind = "directory"
path = "{place}/vault"

[sweep]
copies = ["vault"]
look_again = "0s"
keep_staged = "0s"
"""
_WITH_KEY = ("restore", "show", "find", "diff", "undelete")


class Configured(Calm):
    """A history without damage. Nobody has the private key but who restores."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        super().__init__(place, rng)
        self.keys = place / "keys"
        self.vault = place / "vault"
        self.vault.mkdir()
        to = recipient()
        public = write_recipient(place, to)
        self.identity = place / "laptop" / "ops.secret"
        self.identity.parent.mkdir(mode=0o700)
        secret = Secret(name=to.name, kem=to.kem, recipient=to.id, private=PRIVATE)
        write_secret(self.identity, secret, None)
        staging = f'path = "{self.staging}"'
        told = self._config.read_text().replace(staging, f'{staging}\nkeys = "{self.keys}"', 1)
        self._config.write_text(told + ENCRYPTION.format(public=public, place=place))

    def command(self, name: str, *options: str, status: tuple[int, ...]) -> Any:
        """With the private key where mail or search terms are read."""
        with_key = ("--identity", str(self.identity)) if name in _WITH_KEY else ()
        return super().command(name, *options, *with_key, status=status)

    def verify(self) -> None:
        """By who has the private key, or not."""
        with_key = ("--data", "--identity", str(self.identity))
        self.command("verify", *self.rng.choice([(), with_key]), status=(0,))

    def sweep(self) -> None:
        """Copies at a destination; some archives leave the staging area."""
        self.command("sweep", status=(0, 3))

    def kill(self) -> None:
        """The program is killed while it writes archives; most often the run goes on, then comes another."""
        before = {run["run"] for run in self.runs()}
        step = self.rng.randrange(1, 40)
        killed_at(step, [(os, "pwrite"), (os, "rename")], lambda: self._run("/"))
        begun = sorted({one["run"] for one in self.runs()} - before)
        self.told.append(f"a backup was killed before step {step}, if it had so many")
        self.look()
        if begun and self.rng.random() < 0.8:
            # Perhaps nothing was left to do but to say so.
            self.command("backup", "--resume", begun[-1], *self.workers(), status=(0, 1, 2, 3))
        self._run("/")

    def look(self) -> None:
        """What lies there now may be looked at."""

    def crash(self) -> None:
        """In one way or another; and what else can be done here."""
        self.rng.choice((super().crash, self.kill, self.sweep, self.restore_there))()

    def restore_there(self) -> None:
        """Into the store that people use, which is kept first as it is; then that is taken back."""
        before = mail_at(self.store)
        options = self.rng.choice([(), ("--exact",)])
        self.command("restore", "/", *options, status=(0,))
        self.look()
        self.command("restore", "--undo", "latest", status=(0, 2))
        after = mail_at(self.store)
        for user in before.keys() | after.keys():
            assert differences(before.get(user, {}), after.get(user, {})) == [], user


class Joined(Configured):
    """Others join one after the other: from then on each of them restores all that is kept, too."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        super().__init__(place, rng)
        self.identities = [self.identity]

    def command(self, name: str, *options: str, status: tuple[int, ...]) -> Any:
        """By anybody who has a private key."""
        self.identity = self.rng.choice(self.identities)
        return super().command(name, *options, status=status)

    def back_up(self) -> None:
        """Sometimes somebody has joined before."""
        if len(self.identities) < 4 and self.rng.random() < 0.3:
            self.join()
        super().back_up()

    def join(self) -> None:
        """In the configuration first, so that no night in between is without; then for what is there."""
        name = f"later{len(self.identities)}"
        private = self.rng.randbytes(32)
        to = recipient(private=private, name=name)
        public = write_recipient(self.keys.parent, to)
        secret = Secret(name=to.name, kem=to.kem, recipient=to.id, private=private)
        identity = self.identity.parent / f"{name}.secret"
        write_secret(identity, secret, None)
        told = self._config.read_text()
        self._config.write_text(told.replace('.pub"]', f'.pub", "{public}"]', 1))
        by = ("--identity", str(self.rng.choice(self.identities)))
        self.command("keys recipient add", str(public), *by, status=(0,))
        self.told.append(f"{name} joined")
        self.identities.append(identity)
