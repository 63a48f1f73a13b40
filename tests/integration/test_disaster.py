"""All is lost but for one destination: real mail of several nights, with a purge between them, was swept to
one of each kind; from each of them alone, and from the files there alone, all comes back."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailhaul.tests.tapes import taken_off

from ..trees import Entry, differences, snapshot
from ..verifying import command
from .servers.object_storage import S3Server, moto
from .servers.rgw import rgw

pytestmark = pytest.mark.xdist_group("object storage")

NAMES = ("vault", "ceph", "drive", "programs")
LAYOUT = "{domain}/{user}/Maildir"

CONFIG = """\
[staging]
path = {staging}
same_device = true

[[partition]]
name = "primary"
format = "maildir"
path = {store}

[groups]
file = {groups}

[retention]
compact_below = 1.0
"""

SWEEP = """
[sweep]
copies = {copies}
look_again = "0s"
keep_staged = "0s"
keep_newest = false
"""


@dataclass
class Site:
    """A store that lives, its nights, and a destination of each kind."""

    place: Path
    server: S3Server
    rng: random.Random = field(default_factory=lambda: random.Random(9))
    moments: dict[str, dict[bytes, Entry]] = field(default_factory=dict)
    delivered: int = 0

    def __post_init__(self) -> None:
        self.store = self.place / "store"
        self.staging = self.place / "staging"
        self.bucket = self.server.new_bucket()
        (self.place / "kept").mkdir()
        key = self.place / "ceph.env"
        key.touch(mode=0o600)
        key.write_text(f"AWS_ACCESS_KEY_ID={self.server.key}\nAWS_SECRET_ACCESS_KEY={self.server.secret}\n")
        (self.place / "groups.conf").write_text("north=.*@example\\.org\nsouth=.*@example\\.net\n")
        self.config = self.configured(self.place, NAMES)

    def destination(self, name: str) -> str:
        """The table of one of them."""
        root = self.place / "kept"
        put = ["sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "put", f"{root}/{{name}}"]
        listing = ["find", str(root), "-type", "f", "-printf", "%s %P\\n"]
        facts: dict[str, dict[str, object]] = {
            "vault": {"kind": "directory", "path": str(self.place / "vault")},
            "ceph": {
                "kind": "s3",
                "endpoint": self.server.endpoint,
                "bucket": self.bucket,
                "prefix": "site1/",
                "credentials": str(self.place / "ceph.env"),
            },
            # So small that what is written takes several volumes, and that some archives do not fit on one.
            "drive": {
                "kind": "tape",
                "file": str(self.place / "tapes"),
                "record": "10 KiB",
                "capacity": "6 MB",
            },
            "programs": {
                "kind": "command",
                "put": put,
                "get": ["cat", f"{root}/{{name}}"],
                "list": listing,
                "remove": ["rm", f"{root}/{{name}}"],
            },
        }
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in facts[name].items()]
        return f'\n[[destination]]\nname = "{name}"\n' + "".join(lines)

    def configured(self, place: Path, names: tuple[str, ...]) -> Path:
        """A configuration with a staging area at this place, and these destinations."""
        config = place / "mailhaul.toml"
        head = CONFIG.format(
            staging=json.dumps(str(place / "staging")),
            store=json.dumps(str(self.store / LAYOUT)),
            groups=json.dumps(str(self.place / "groups.conf")),
        )
        rules = SWEEP.format(copies=json.dumps(names))
        config.write_text(head + "".join(map(self.destination, names)) + rules)
        return config

    def run(self, name: str, *arguments: object) -> Any:
        return command(f"--config {self.config} {name}", *arguments)

    def night(self) -> None:
        run = self.run("backup", "--workers", "2")["run"]
        self.moments[run] = mail_in(self.store)

    def day(self) -> None:
        """Mail arrives, is read, moved and deleted; a folder comes and another goes."""
        for box in self._boxes():
            for name in ("", ".Sent"):
                self._change(box / name)
        first, second, *_ = self._boxes()
        shutil.rmtree(first / ".Archive.2024", ignore_errors=True)
        made = second / f".Later.{self.delivered}"
        for part in ("cur", "new", "tmp"):
            (made / part).mkdir(parents=True, mode=0o700)

    def _boxes(self) -> list[Path]:
        return sorted(self.store.glob("*/*/Maildir"))

    def _change(self, folder: Path) -> None:
        told = folder / "dovecot-uidlist"
        head, *lines = told.read_text().splitlines()
        uid = int(re.findall(r" N(\d+)", head)[0])
        for message in sorted((folder / "cur").iterdir()):
            chance = self.rng.random()
            base, _, flags = message.name.partition(":2,")
            if chance < 0.3:
                message.unlink()
                lines = [line for line in lines if f":{base}" not in line]
            elif chance < 0.5 and "F" not in flags:
                message.rename(message.with_name(f"{base}:2,{''.join(sorted('F' + flags))}"))
        self.delivered += 1
        name = f"176000{self.delivered:04}.M1P{self.delivered}.store"
        content = b"Subject: %d\n\n" % self.delivered + self.rng.randbytes(20_000).hex().encode()
        (folder / "new" / name).write_bytes(content)
        told.write_text("\n".join([head.replace(f" N{uid}", f" N{uid + 1}"), *lines, f"{uid} :{name}", ""]))


def mail_in(root: Path) -> dict[bytes, Entry]:
    """All that lies in the mailboxes."""
    return {where: one for where, one in snapshot(root).items() if b"/Maildir/" in where}


@pytest.fixture(scope="module")
def site(require_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory, root: Path) -> Site:
    server = rgw(require_tool) if shutil.which("radosgw") else moto()
    made = Site(tmp_path_factory.mktemp("site"), server)
    maker = root / "deploy/demo/make_store.py"
    subprocess.run(
        [sys.executable, maker, made.store, "--messages", "300", "--users", "4"], check=True, timeout=60
    )
    for name in NAMES:
        made.run("destination check", name)
    for number in range(4):
        made.day()
        made.night()
        if number == 2:
            purged = made.run("purge", "--last", "1")
            assert purged["compacted"], "what lies in two generations is the hard part"
        if number != 1:  # of which something can be compacted then
            swept = made.run("sweep")
            assert [one["stopped"] for one in swept["destinations"]] == [None] * len(NAMES)
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
            client.download_file(site.bucket, one["Key"], str(file))
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
