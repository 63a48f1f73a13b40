"""Another program keeps the archives: confirmed, they leave the staging area, and come back when a restore
asks for them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..maildirs import Maildir
from ..trees import differences, snapshot
from .command import Mailhaul

CONFIG = """\
[staging]
path = "staging"
[[partition]]
format = "maildir"
path = "{place}/store"
[sweep]
copies = ["confirmed"]
keep_staged = "0s"
keep_newest = false
[hooks]
files_wanted = ["sh", "-c", "cat >> {place}/wanted"]
"""


class Site:
    """A store with two nights, and the tape of a program that takes copies of files."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = place / "store"
        self.mailhaul = Mailhaul(place)
        self.staging = self.mailhaul.staging
        self.config = place / "mailhaul.toml"
        self.config.write_text(CONFIG.format(place=place))
        for night in (1, 2):
            box = Maildir(self.store / "anna")
            for number in range(3):
                box.message(f"{night}{number}.M1P1.host:2,S", b"Subject: %d\n\nmail\n" % number * 500)
            self.run("backup")

    def run(self, command: str, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.mailhaul.run(self.config, command, *arguments, status=status)
        return found

    def archives(self) -> list[Path]:
        return sorted(self.staging.glob("primary/*/*.mha"))

    def take(self) -> Path:
        return shutil.copytree(self.staging / "primary", self.place / "tape" / "primary").parent

    def bring_back(self) -> None:
        subprocess.run(["cp", "-r", self.place / "tape" / "primary", self.staging], check=True)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_from_the_staging_area_to_a_tape_and_back_for_a_restore(site: Site) -> None:
    site.take()
    names = [str(archive.relative_to(site.staging)) for archive in site.archives()]
    runs = [run["run"] for run in site.run("runs")["runs"]]
    done = site.run("confirm", *runs, "--location", "LTO 000017")
    assert sorted(one["name"] for one in done["confirmed"]) == names
    assert sorted(site.run("sweep")["freed"]) == names
    assert site.archives() == []
    assert site.run("backup")["read"] == 0, "nights go on"

    target = site.place / "restored"
    to = ("/", "--to", f"maildir:{target}")
    plan = site.run("restore", *to, "--dry-run")
    assert {one["file"] for one in plan["needs"]} == {f"{name}, kept at LTO 000017" for name in names}
    assert len(plan["missing"]) == 2
    told = site.run("restore", *to, "--wait", "0s", status=1)
    assert (told["restored"], told["damaged"]) == (0, [])
    ((reason, detail),) = [(skip["reason"], skip["detail"]) for skip in told["skipped"]]
    assert reason == "not-yet"
    assert any(
        f"kept at LTO 000017: bring its file back as {site.staging / name}" in detail for name in names
    )
    asked = json.loads((site.place / "wanted").read_text())
    assert (asked["hook"], asked["location"], asked["files"]) == ("files_wanted", "LTO 000017", names)
    failed = site.run("recall", "/", "--wait", "0s", status=1)["failed"]
    assert {one["reason"] for one in failed} == {"not-yet"}
    assert not target.exists() or not list(target.rglob("*host*"))

    read = site.run("verify", "--data", status=1)
    assert (read["damaged"], read["affected"]) == ([], [])
    assert {one["reason"] for one in read["unreadable"]} == {"not-yet"}
    site.run("verify")

    waiting = subprocess.Popen(
        [Path(sys.executable).with_name("mailhaul"), "--config", site.config, "restore", *to, "--wait", "3s"],
        cwd=site.place,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    assert "waiting for 2 archives" in waiting.stderr.readline()
    site.bring_back()
    assert waiting.wait(120) == 0, waiting.stderr.read()
    waiting.stderr.close()
    assert differences(snapshot(site.store), snapshot(target)) == []
    assert len(site.run("sweep")["freed"]) == 2


def test_a_tape_that_is_gone_is_forgotten(site: Site) -> None:
    site.run("confirm", "latest", "--location", "LTO 000017")
    (listed,) = site.run("confirm")["confirmed"]
    assert (listed["location"], listed["outdated"], listed["last"]) == ("LTO 000017", False, False)
    site.run("confirm", "latest", status=2)
    site.run("confirm", "--location", "LTO 000017", status=2)
    site.run("confirm", "--forget", status=2)
    assert site.run("confirm", "--forget", "--location", "LTO 000017")["forgotten"]
    assert site.run("confirm")["confirmed"] == []
    assert site.run("sweep", status=2)["error"]
    assert len(site.archives()) == 2
