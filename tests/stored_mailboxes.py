"""A staging area with a few nights of a small store, for tests of the page: folders and messages go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mailhaul.coordinator.web.site import Site
from mailhaul.proto.structs import replace
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.pages import make_site

JANE = "/primary/user/jane@example.org"
BOSS = "/primary/user/boss@example.org"


def letter(subject: str, text: str = "hello", sender: str = "Joe <joe@example.net>") -> bytes:
    """A short message."""
    return (
        f"From: {sender}\nTo: jane@example.org\nSubject: {subject}\n"
        f"Date: Tue, 17 Nov 2026 08:30:00 +0100\nMessage-ID: <{abs(hash(subject))}@x>\n\n{text}\n"
    ).encode()


class Nights:
    """A store below a directory, its configuration, and its backups."""

    def __init__(self, place: Path, *, encrypted: bool = False) -> None:
        self.place = place
        self.store = place / "mail"
        self.staging = place / "staging"
        self.config = place / "mailhaul.toml"
        self.staging.mkdir()
        (place / "groups.conf").write_text("staff = jane@.*\n")
        self.config.write_text(
            f'[staging]\npath = "{self.staging}"\nsame_device = true\n'
            f'[groups]\nfile = "{place}/groups.conf"\n'
            f'[[partition]]\nname = "primary"\nformat = "maildir"\npath = "{self.store}/{{user}}"\n'
        )

        if encrypted:
            make = ("keys", "recipient", "make", "ops", "--dir", str(place), "--no-passphrase")
            subprocess.run((sys.executable, "-P", "-m", "mailhaul", *make), check=True, capture_output=True)
            keys = f'keys = "{place}/keys"\n[encryption]\nrecipients = ["{place}/ops.pub"]\n'
            self.config.write_text(
                self.config.read_text().replace("same_device = true\n", f"same_device = true\n{keys}")
            )

    def mailbox(self, user: str) -> Maildir:
        """The Maildir of a user."""
        return Maildir(self.store / user)

    def run(self, *words: str) -> dict[str, object]:
        """A command of the program, in a process of its own; what it says as JSON."""
        done = subprocess.run(
            (sys.executable, "-P", "-m", "mailhaul", "--config", self.config, *words, "--json"),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        told = json.loads(done.stdout)
        assert isinstance(told, dict)
        return told

    def back_up(self) -> str:
        """A night; its run."""
        return str(self.run("backup")["run"])

    def site(self, staging: Path | None = None) -> Site:
        """The page of the staging area."""
        site = make_site(staging or self.staging)
        return replace(site, config_file=self.config)


def three_nights(place: Path, *, encrypted: bool = False) -> tuple[Nights, list[str]]:
    """Jane (of ``staff``) loses the folder Projects after the first night and a message after the second; a
    boss (of nobody's group) has mail, too. The runs."""
    nights = Nights(place, encrypted=encrypted)
    jane = nights.mailbox("jane@example.org")
    projects = jane.folder(".Projects")
    (projects / "maildirfolder").touch()
    jane.uidlist("1 :1.a", "2 :2.a", header="3 V1500 N3 G914b7e3a786d016b9d45000083ecc375")
    jane.message("1.a:2,S", letter("first"))
    jane.message("2.a:2,", letter("second"))
    jane.message("7.p:2,S", letter("the plan", "plan of Jane"), folder=".Projects")
    jane.message("8.p:2,S", letter("another plan"), folder=".Projects")
    nights.mailbox("boss@example.org").message("1.b:2,S", letter("secret of the boss"))
    runs = [nights.back_up()]
    shutil.rmtree(projects)
    runs.append(nights.back_up())
    os.unlink(jane.root / "cur" / "2.a:2,")
    runs.append(nights.back_up())
    return nights, runs
