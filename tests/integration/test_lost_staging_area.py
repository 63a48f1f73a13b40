"""The staging area is lost, catalog and all: from each kind of destination alone everything comes back."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..maildirs import Maildir
from ..trees import differences, snapshot
from .command import Mailhaul
from .servers.object_storage import moto

CONFIG = """\
[staging]
path = "staging"
same_device = true

[[partition]]
format = "maildir"
path = {store}

[[destination]]
name = "vault"
{destination}

[sweep]
copies = ["vault"]
look_again = "0s"
keep_staged = "0s"
keep_newest = false
"""


def directory(_place: Path) -> str:
    return 'kind = "directory"\npath = "vault"'


def s3(place: Path) -> str:
    server = moto()
    key = place / "vault.env"
    key.touch(mode=0o600)
    key.write_text(f"AWS_ACCESS_KEY_ID={server.key}\nAWS_SECRET_ACCESS_KEY={server.secret}\n")
    return (
        f'kind = "s3"\nendpoint = "{server.endpoint}"\nbucket = "{server.new_bucket()}"\nprefix = "site1/"\n'
        f"credentials = {json.dumps(str(key))}"
    )


def programs(place: Path) -> str:
    root = place / "kept"
    root.mkdir()
    put = ["sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "put", f"{root}/{{name}}"]
    return (
        f'kind = "command"\nput = {json.dumps(put)}\nget = {json.dumps(["cat", f"{root}/{{name}}"])}\n'
        f"list = {json.dumps(['find', str(root), '-type', 'f', '-printf', '%s %P' + chr(92) + 'n'])}"
    )


class Site:
    """A store that changes for three nights; after each its archives leave the staging area."""

    def __init__(self, place: Path, destination: Callable[[Path], str]) -> None:
        self.place = place
        self.store = place / "store"
        self.mailhaul = Mailhaul(place)
        self.config = place / "mailhaul.toml"
        self.config.write_text(
            CONFIG.format(store=json.dumps(str(self.store)), destination=destination(place))
        )
        self.moments: dict[str, Any] = {}
        self._random = random.Random(8)
        self._boxes = {user: Maildir(self.store / user) for user in ("anna", "ben")}
        self._delivered = 0

    def run(self, command: str, *arguments: str | Path, status: int | tuple[int, ...] = 0) -> Any:
        return self.mailhaul.run(self.config, command, *arguments, status=status)

    def night(self, status: int = 0) -> Any:
        for user, box in self._boxes.items():
            for _ in range(2 if user == "anna" else 1):
                self._delivered += 1
                content = b"Subject: %d\n\n" % self._delivered + self._random.randbytes(30_000)
                box.message(f"{self._delivered}.M1P1.host:2,S", content)
        report = self.run("backup", status=status)
        self.moments[report["run"]] = snapshot(self.store)
        return report

    def sweep(self) -> None:
        self.run("sweep")
        assert not list(self.mailhaul.staging.glob("primary/*/*.mha")), "all has left"

    def check(self) -> None:
        """Every moment comes back exactly."""
        for number, (run, stored) in enumerate(self.moments.items()):
            target = self.place / f"restored-{len(self.moments)}-{number}"
            self.run("restore", "/", "--at", run, "--to", f"maildir:{target}")
            assert differences(stored, snapshot(target)) == []


@pytest.fixture(params=[directory, s3, programs], ids=["directory", "s3", "programs"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    made = Site(tmp_path, request.param)
    made.run("destination check", "vault")
    for _ in range(3):
        made.night()
        made.sweep()
    return made


def test_all_comes_back_from_the_destination_alone(site: Site) -> None:
    before = [(run["run"], run["state"]) for run in site.run("runs")["runs"]]
    shutil.rmtree(site.mailhaul.staging)
    site.mailhaul.staging.mkdir()
    rebuilt = site.run("catalog rebuild", "--from", "vault")
    assert (rebuilt["archives"], rebuilt["missing"], rebuilt["damaged"]) == (3, [], [])
    assert [(one["run"], one["state"]) for one in site.run("runs")["runs"]] == before
    site.check()
    assert site.night()["read"] == 3, "what is stored is known again"
    site.sweep()
    site.check()


def test_also_without_a_snapshot_of_the_catalog(site: Site) -> None:
    shutil.rmtree(site.mailhaul.staging)
    site.mailhaul.staging.mkdir()
    rebuilt = site.run("catalog rebuild", "--from", "vault", "--every-archive")
    assert (rebuilt["archives"], rebuilt["missing"], rebuilt["damaged"]) == (3, [], [])
    site.check()


def test_a_backup_without_its_catalog_begins_with_what_there_is(site: Site) -> None:
    """Excerpts and snapshots are there, and not one archive."""
    for path in site.mailhaul.staging.joinpath(".mailhaul").glob("catalog.sqlite*"):
        path.unlink()
    told = site.night(status=3)
    assert [alarm["reason"] for alarm in told["alarms"]] == ["catalog-lost"]
    assert told["read"] == 3
    site.sweep()
    site.check()


def test_the_destination_alone_with_nothing_but_python(tmp_path: Path) -> None:
    """What lies there says what it is, and restores itself."""
    site = Site(tmp_path, directory)
    site.run("destination check", "vault")
    for _ in range(2):
        site.night()
        site.sweep()
    vault = tmp_path / "vault"
    (reader,) = vault.glob("mailhaul-restore-*.py")
    assert "mailhaul-restore-" in (vault / "README.txt").read_text()
    for number, (run, stored) in enumerate(site.moments.items()):
        target = tmp_path / f"restored {number}"
        done = subprocess.run(
            [sys.executable, "-I", reader, vault, "--to", target, "--run", run],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done
        assert differences(stored, snapshot(target)) == []


def test_a_directory_of_copies_becomes_a_staging_area(tmp_path: Path) -> None:
    """The snapshot there tells that all had left the staging area."""
    site = Site(tmp_path, directory)
    site.run("destination check", "vault")
    for _ in range(2):
        site.night()
        site.sweep()
    site.run("sweep")  # takes the snapshot along that knows of the last one
    copies = tmp_path / "copies"
    shutil.copytree(tmp_path / "vault", copies)
    rebuilt = site.mailhaul.run(None, "catalog rebuild", "--staging", copies)
    assert (rebuilt["archives"], rebuilt["refused"], rebuilt["missing"]) == (2, [], [])
    assert rebuilt["origin"]
    for number, (run, stored) in enumerate(site.moments.items()):
        target = tmp_path / f"restored {number}"
        words = ("--at", run, "--staging", copies, "--to", f"maildir:{target}")
        site.mailhaul.run(None, "restore", "/", *words)
        assert differences(stored, snapshot(target)) == []
