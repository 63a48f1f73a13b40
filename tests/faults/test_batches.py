"""A staging area that is smaller than the store: the groups go through it one after the other, each to where
it stays, as docs/operations.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..integration.command import Mailhaul
from ..maildirs import Maildir
from ..trees import differences, snapshot

GROUPS = ("first", "second", "third")
AREA_BYTES = 6 << 20
MESSAGES, MESSAGE_BYTES = 36, 100_000
"""Of each group: two thirds of the staging area."""

CONFIG = """\
[staging]
path = "staging"
reserve = "512 KiB"
wait_for_space = "5s"
[[partition]]
format = "maildir"
path = "{place}/store"
[groups]
file = "groups"
[[destination]]
name = "vault"
kind = "directory"
path = "vault"
[sweep]
copies = ["vault"]
look_again = "0s"
keep_staged = "0s"
keep_newest = false
[sweep.group.third]
copies = ["confirmed"]
"""


class Site:
    """A store of three groups of one mailbox, a small staging area, a directory and a tape."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = place / "store"
        self.staging = place / "staging"
        self.mailhaul = Mailhaul(place)
        self.config = place / "mailhaul.toml"
        self.config.write_text(CONFIG.format(place=place))
        (place / "groups").write_text("".join(f"{group}={group}.*\n" for group in GROUPS))
        (place / "vault").mkdir()
        self._number = 0
        for group in GROUPS:
            self.deliver(group, MESSAGES)

    def deliver(self, group: str, messages: int) -> None:
        box = Maildir(self.store / group)
        for _ in range(messages):
            self._number += 1
            box.message(f"{self._number}.M1P1.host:2,S", b"Subject: x\n\n" + os.urandom(MESSAGE_BYTES))

    def run(self, command: str, *arguments: str | Path) -> Any:
        return self.mailhaul.run(self.config, command, *arguments)

    def batch(self, group: str) -> None:
        """What the loops do for a group."""
        assert self.run("backup", f"/primary/{group}")["state"] == "done"
        if group == "third":
            for file in self.staging.glob("primary/third/*.mha"):
                kept = self.place / "tape" / file.relative_to(self.staging)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, kept)
            self.run("confirm", "latest", "--location", "a tape")
        self.run("sweep")
        assert not list(self.staging.glob("primary/*/*.mha"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    (tmp_path / "staging").mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={AREA_BYTES}", "tmpfs", tmp_path / "staging"], check=True
    )
    try:
        yield Site(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path / "staging"], check=True)


def test_groups_go_through_a_staging_area_that_is_smaller_than_the_store(site: Site) -> None:
    store_bytes = sum(path.stat().st_size for path in site.store.rglob("*") if path.is_file())
    assert store_bytes > 1.5 * AREA_BYTES
    for group in GROUPS:
        site.batch(group)
    site.deliver("first", 1)
    site.batch("first")
    target = site.place / "restored"
    shutil.copytree(site.place / "tape", site.staging, dirs_exist_ok=True)
    site.run("restore", "/", "--to", f"maildir:{target}", "--wait", "0s")
    assert differences(snapshot(site.store), snapshot(target)) == []
    assert sum(one.stat().st_size for one in site.staging.glob("_metadata/*/*/*")) < 100_000
