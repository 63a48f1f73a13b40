"""The catalog is lost after something was found out about copies, or while a place has lost what it had: what
is made again does not count what is not there, and no staging space is freed for it."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from mailhaul.proto.errors import EXIT_DAMAGED

from ..maildirs import Maildir
from ..trees import differences, snapshot
from ..verifying import command

CONFIG = """\
[staging]
path = {staging}
same_device = true

[[partition]]
format = "maildir"
path = {store}

[[destination]]
{destination}

[sweep]
copies = [{copies}]
look_again = "0s"
keep_staged = "0s"
keep_newest = {keep_newest}
"""


class Site:
    """A mailbox that gets mail each day, and its backups."""

    def __init__(self, place: Path, copies: str) -> None:
        self.place = place
        self.staging, self.vault = place / "staging", place / "vault"
        self.box = Maildir(place / "store" / "anna")
        self.copies = copies
        self.number = 0
        self.run("destination check", copies)

    def run(self, name: str, *arguments: object, keep_newest: bool = True, status: int = 0) -> Any:
        destination = {
            "vault": f'name = "vault"\nkind = "directory"\npath = {json.dumps(str(self.vault))}',
            "drive": f'name = "drive"\nkind = "tape"\nfile = {json.dumps(str(self.place / "tapes"))}',
        }
        config = self.place / "mailhaul.toml"
        config.write_text(
            CONFIG.format(
                staging=json.dumps(str(self.staging)),
                store=json.dumps(str(self.place / "store")),
                destination=destination[self.copies],
                copies=json.dumps(self.copies),
                keep_newest=json.dumps(keep_newest),
            )
        )
        return command(f"--config {config} {name}", *arguments, status=(status,))

    def night(self) -> str:
        self.number += 1
        self.box.message(
            f"{self.number}.M1P1.host:2,S", b"Subject: %d\n\n" % self.number + Random(1).randbytes(5000)
        )
        return str(self.run("backup")["run"])

    def lose_catalog(self) -> None:
        for path in (self.staging / ".mailhaul").glob("catalog.sqlite*"):
            path.unlink()

    def check(self) -> None:
        """All comes back."""
        target = self.place / f"restored-{self.number}"
        self.run("restore", "/", "--to", f"maildir:{target}")
        assert differences(snapshot(self.place / "store"), snapshot(target)) == []


def damage(vault: Path) -> None:
    """A byte of the only archive there is another one."""
    (archive,) = vault.glob("*/*/*.mha")
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 1
    archive.write_bytes(data)


def test_a_copy_that_was_found_damaged_does_not_count_again(tmp_path: Path) -> None:
    """Of the same size, it would pass every look; the staging area is freed only when it was put again."""
    site = Site(tmp_path, "vault")
    site.night()
    site.run("sweep")  # the archive stays here, too: it is the newest
    damage(site.vault)
    site.run("verify", "--from", "vault", status=EXIT_DAMAGED)
    site.lose_catalog()
    site.run("catalog rebuild")
    site.run("sweep", keep_newest=False)
    assert not list(site.staging.glob("*/*/*.mha")), "all has left"
    site.check()


def test_a_place_that_has_lost_all_archives_has_none(tmp_path: Path) -> None:
    """Somebody's rule has removed them, and left what lies beside them."""
    site = Site(tmp_path, "vault")
    site.night()
    site.run("sweep", keep_newest=False)
    for archive in site.vault.glob("*/*/*.mha"):
        archive.unlink()
    site.lose_catalog()
    rebuilt = site.run("catalog rebuild", "--from", "vault", status=EXIT_DAMAGED)
    assert len(rebuilt["missing"]) == 1


def test_a_copy_that_was_cut_there_does_not_count(tmp_path: Path) -> None:
    site = Site(tmp_path, "vault")
    site.night()
    site.run("sweep", keep_newest=False)
    (archive,) = site.vault.glob("*/*/*.mha")
    archive.write_bytes(archive.read_bytes()[:-100])
    site.lose_catalog()
    rebuilt = site.run("catalog rebuild", "--from", "vault", status=EXIT_DAMAGED)
    assert len(rebuilt["missing"]) == 1


def test_a_tape_that_was_forgotten_does_not_count_again(tmp_path: Path) -> None:
    site = Site(tmp_path, "drive")
    site.night()
    site.run("sweep")
    (tape,) = (tmp_path / "tapes").glob("*.tap")
    (label,) = [volume["label"] for volume in site.run("tape list", "drive")["volumes"]]
    tape.unlink()
    site.run("tape forget", "drive", label)
    site.lose_catalog()
    site.run("catalog rebuild")
    site.run("sweep", keep_newest=False)
    site.check()
