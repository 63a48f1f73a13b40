"""Groups that are renamed, or lose their last user: no backup depends on a moment of them that was purged,
and nobody is in no group."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ..maildirs import Maildir
from ..verifying import command

CONFIG = """\
[staging]
path = "staging"

[[partition]]
name = "primary"
format = "maildir"
path = "STORE/{user}/Maildir"

[groups]
file = "groups.conf"
"""


class Grouped:
    """The mailboxes of ann and bob, and groups."""

    def __init__(self, place: Path) -> None:
        self.staging = place / "staging"
        self._config = place / "mailhaul.toml"
        self._config.write_text(CONFIG.replace("STORE", str(place / "store")))
        self.groups = place / "groups.conf"
        self.groups.write_text("gold=b.*\n")
        self.ann, self.bob = (Maildir(place / "store" / user / "Maildir") for user in ("ann", "bob"))
        self.bob.message("1.M1P1.host:2,S")

    def run(self, name: str, *options: object, status: tuple[int, ...] = (0,)) -> Any:
        return command(f"--config {self._config} {name}", *options, status=status)


@pytest.mark.parametrize("how", ["renamed", "last user gone"])
@pytest.mark.parametrize("rebuilds", [1, 2])
def test_a_group_that_is_no_more(tmp_path: Path, how: str, rebuilds: int) -> None:
    place = Grouped(tmp_path)
    groups, ann, bob, run = place.groups, place.ann, place.bob, place.run

    def night(number: int) -> str:
        ann.message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\nx\n" % number)
        return str(run("backup")["run"])

    night(1)
    if how == "renamed":
        groups.write_text("silver=b.*\n")
    else:
        shutil.rmtree(bob.root.parent)
    night(2)
    night(3)
    run("purge", "--last", 1)
    for _ in range(rebuilds):
        (tmp_path / "staging" / ".mailhaul" / "catalog.sqlite").unlink()
        run("catalog rebuild")
    latest = night(4)
    run("verify")
    listed = run("ls", "/", "--at", latest)
    assert "gold" not in str(listed)
    restored = run("restore", "/", "--at", latest, "--to", f"maildir:{tmp_path / 'restored'}")
    assert restored["restored"] == (5 if how == "renamed" else 4)
    assert run("backup", "--full")["state"] == "done"
    run("purge", "--last", 1)
    assert run("backup")["state"] == "done"


@pytest.mark.parametrize("how", ["renamed", "last user gone"])
def test_a_group_that_is_no_more_and_has_lost_its_archive(tmp_path: Path, how: str) -> None:
    """Nothing tells any more whose mailbox was in it. A run over all of it that finds nobody there says how
    it is now; before, each restore said for ever that a mailbox is lost, whatever the backups said."""
    place = Grouped(tmp_path)
    place.ann.message("1.M1P1.host:2,S")
    lossy = place.run("backup")["run"]
    (archive,) = place.staging.glob("primary/gold/*.mha")
    archive.unlink()
    if how == "renamed":
        place.groups.write_text("silver=b.*\n")
    else:
        shutil.rmtree(place.bob.root.parent)
    place.run("catalog rebuild", status=(4,))
    latest = place.run("backup")["run"]
    target = f"maildir:{tmp_path / 'restored'}"
    restored = place.run("restore", "/", "--at", latest, "--to", target)
    assert restored["restored"] == (2 if how == "renamed" else 1)
    place.run("restore", "/", "--at", lossy, "--to", f"{target} then", status=(4,))


def test_who_changes_groups_is_not_lost_in_between(tmp_path: Path) -> None:
    """A run over the group that bob has left, before one that stores him where he is now."""
    place = Grouped(tmp_path)
    place.groups.write_text("gold=.*\n")
    place.ann.message("1.M1P1.host:2,S")
    place.run("backup")
    place.groups.write_text("gold=a.*\n")
    place.ann.message("2.M1P1.host:2,S")
    place.run("backup", "/primary/gold")
    place.run("purge", "--last", 1)
    assert place.run("restore", "/", "--to", f"maildir:{tmp_path / 'between'}")["restored"] == 3
    place.run("backup")
    place.run("purge", "--last", 1)
    assert place.run("restore", "/", "--to", f"maildir:{tmp_path / 'then'}")["restored"] == 3
