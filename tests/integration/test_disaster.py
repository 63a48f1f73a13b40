"""All is lost but for one destination: real mail of several nights, with a purge between them, was swept to
one of each kind; from each of them alone, and from the files there alone, all comes back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.tests.tapes import taken_off

from ..trees import differences
from ..verifying import command
from .servers.object_storage import moto
from .servers.rgw import rgw
from .sites import LAYOUT, NAMES, Site, mail_in

pytestmark = pytest.mark.xdist_group("object storage")


@pytest.fixture(scope="module")
def site(require_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory, root: Path) -> Site:
    server = rgw(require_tool) if shutil.which("radosgw") else moto()
    made = Site(tmp_path_factory.mktemp("site"), server)
    made.make_store(root / "deploy/demo/make_store.py")
    for number in range(4):
        made.day()
        made.night()
        if number == 2:
            purged = made.run("purge", "--last", "1")
            assert purged["compacted"], "what lies in two generations is the hard part"
        if number != 1:  # of which something can be compacted then
            swept = made.run("sweep")
            assert [destination["stopped"] for destination in swept["destinations"]] == [None] * len(NAMES)
    made.run("sweep")  # the catalog as it was after the last one
    assert not list(made.staging.glob("*/*/*.mha")), "all has left"
    kept = [one["run"] for one in made.run("runs")["runs"] if not one["purged"]]
    made.moments = {run: made.moments[run] for run in kept}
    assert len(made.moments) == 2
    return made


@pytest.mark.parametrize("every_archive", [False, True], ids=["snapshot", "archives"])
@pytest.mark.parametrize("name", NAMES)
def test_all_comes_back_from_one_destination(
    site: Site, tmp_path: Path, name: str, every_archive: bool
) -> None:
    config = site.configured(tmp_path, (name,))
    (tmp_path / "staging").mkdir()
    if name == "drive":
        command(f"--config {config} tape inventory", name)
    how = ["--every-archive"] if every_archive else []
    rebuilt = command(f"--config {config} catalog rebuild", "--from", name, *how)
    assert (rebuilt["missing"], rebuilt["damaged"], rebuilt["refused"]) == ([], [], [])
    for number, (run, mail) in enumerate(site.moments.items()):
        target = tmp_path / f"restored-{number}"
        command(f"--config {config} restore", "/", "--at", run, "--to", f"maildir:{target}/{LAYOUT}")
        assert differences(mail, mail_in(target)) == []
        shutil.rmtree(target)


def from_vault(site: Site, _place: Path) -> Path:
    return site.place / "vault"


def from_bucket(site: Site, place: Path) -> Path:
    """All objects, by a client that knows nothing of mailhaul."""
    client = site.server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=site.bucket):
        for one in page["Contents"]:
            file = place / one["Key"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(client.get_object(Bucket=site.bucket, Key=one["Key"])["Body"].read())
    return place / "site1"


def from_tapes(site: Site, place: Path) -> Path:
    for name, data in taken_off(sorted((site.place / "tapes").glob("*.tap"))).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def from_programs(site: Site, _place: Path) -> Path:
    return site.place / "kept"


@pytest.mark.parametrize("fetched", [from_vault, from_bucket, from_tapes, from_programs])
def test_all_comes_back_with_nothing_but_python(
    site: Site, tmp_path: Path, fetched: Callable[[Site, Path], Path]
) -> None:
    files = fetched(site, tmp_path / "files")
    (reader,) = files.glob("mailhaul-restore-*.py")
    assert reader.name in (files / "README.txt").read_text().replace("VERSION", "0.1.0")
    for number, (run, mail) in enumerate(site.moments.items()):
        target = tmp_path / f"restored-{number}"
        done = subprocess.run(
            [sys.executable, "-I", reader, files, "--to", target, "--run", run, "--layout", LAYOUT],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done
        assert differences(mail, mail_in(target)) == []
        shutil.rmtree(target)
