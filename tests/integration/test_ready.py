"""The manifests of runs, and who may read the staging area: what programs rely on that carry it away."""

from __future__ import annotations

import grp
import io
import json
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from mailhaul import __version__
from mailhaul.coordinator import ready
from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.proto.archive.frames import FrameType
from mailhaul.worker.keepsake.readme import README, reader_name

from ..maildirs import Maildir
from ..manifests import check_manifests
from ..verifying import hit

CONFIG = """\
[staging]
path = "staging"
{staging}
[[partition]]
format = "maildir"
path = {path}
[groups]
file = "groups"
[retention]
last = 1
compact_below = 0.99
"""


RUN = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}"


class Site:
    """A store of two groups, and its configuration."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.staging = place / "staging"
        self.boxes = {user: Maildir(place / "store" / user) for user in ("anna", "ben")}
        self._number = 0
        (place / "groups").write_text("early=a.*\nlate=b.*\n")
        self.configure()

    def configure(self, **keys: str) -> None:
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        path = json.dumps(str(self.place / "store"))
        (self.place / "mailhaul.toml").write_text(CONFIG.format(path=path, staging=lines))

    def deliver(self, *users: str) -> None:
        for user in users:
            self._number += 1
            content = b"Subject: %d\n\n" % self._number + os.urandom(20_000)
            self.boxes[user].message(f"{self._number}.M1P1.host:2,S", content)

    def expunge(self, user: str) -> None:
        min((self.boxes[user].root / "cur").iterdir()).unlink()

    def run(self, name: str, *options: str | Path, status: int = 0) -> Any:
        words = ("--config", self.place / "mailhaul.toml", name, "--json", *options)
        with redirect_stdout(io.StringIO()) as told, redirect_stderr(io.StringIO()) as said:
            ended = main([str(word) for word in words])
        assert ended == status, (ended, told.getvalue(), said.getvalue())
        return json.loads(told.getvalue())

    def manifests(self) -> dict[str, list[str]]:
        return check_manifests(self.staging)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    # Not tmp_path, which other users may not enter.
    place = Path(tempfile.mkdtemp(prefix="mh-"))
    place.chmod(0o755)
    yield Site(place)
    shutil.rmtree(place)


def test_a_manifest_names_what_its_run_has_sealed(site: Site) -> None:
    site.deliver("anna", "ben")
    first = site.run("backup")
    site.deliver("anna")
    second = site.run("backup")
    third = site.run("backup")  # nothing has changed
    named = site.manifests()
    for done, archives in ((first, 2), (second, 1), (third, 0)):
        files = {str(Path(archive).relative_to(site.staging)) for archive in done["archives"]}
        assert len(files) == archives
        assert set(named[done["run"]]) == files | {f"_runs/{done['run'][:4]}/{done['run']}.0.mhr"}
    assert {path.name for path in site.staging.iterdir()} == {
        *(".mailhaul", "_catalog", "_ready", "_runs", "primary"),
        *(README, reader_name(__version__)),
    }
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in site.staging.rglob("*"))


def test_archives_are_not_read_back_for_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    make = ready._digests

    def note(staging: Path, names: list[str]) -> dict[str, str]:
        read.extend(names)
        return make(staging, names)

    monkeypatch.setattr(ready, "_digests", note)
    site.deliver("anna", "ben")
    done = site.run("backup")
    assert [Path(one).parts[0] for one in read] == ["_runs"]
    assert len(site.manifests()[done["run"]]) == 3


def test_what_a_purge_takes_away_is_not_named_any_more(site: Site) -> None:
    for _ in range(6):
        site.deliver("anna", "ben")
    first = site.run("backup")
    for user in ("anna", "anna", "anna", "anna", "ben"):
        site.expunge(user)
    site.deliver("anna")
    second = site.run("backup")
    before = site.manifests()
    done = site.run("purge")
    assert done["compacted"]
    named = site.manifests()
    assert named[second["run"]] == before[second["run"]]
    anew = [one for one in named[first["run"]] if one.endswith(".g1.mha")]
    assert sorted(one["new_file"] for one in done["compacted"]) == anew

    for user in ("anna", "ben"):
        for path in (site.boxes[user].root / "cur").iterdir():
            path.unlink()
        site.deliver(user)
    site.run("backup")
    site.run("purge")
    assert site.manifests()[first["run"]] == [f"_runs/{first['run'][:4]}/{first['run']}.0.mhr"]


def test_a_repair_renews_what_is_named(site: Site) -> None:
    site.deliver("anna", "ben")
    run = site.run("backup")["run"]
    (file,) = site.staging.glob("primary/early/*.mha")
    hit(file, FrameType.BLOCK, 0)
    (own,) = site.staging.glob("_runs/*/*.mhr")
    own.write_bytes(own.read_bytes()[:200])
    site.run("verify", "--fix", status=4)
    named = site.manifests()[run]
    assert [one for one in named if one.startswith("primary/early/")] == [
        str(path.relative_to(site.staging)) for path in site.staging.glob("primary/early/*.g1.mha")
    ]
    assert str(own.relative_to(site.staging)) in named


def test_a_run_that_failed_in_part_says_so_until_it_goes_on(site: Site) -> None:
    site.deliver("anna", "ben")
    blocked = site.staging / "primary" / "late"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("no directory")
    run = site.run("backup", status=1)["run"]
    manifest = site.staging / "_ready" / f"{run}.sha256"
    assert manifest.read_text().splitlines()[0] == f"# run {run}: partial"
    assert len(site.manifests()[run]) == 2
    blocked.unlink()
    site.run("backup", "--resume", "latest")
    assert not manifest.read_text().startswith("#")
    assert len(site.manifests()[run]) == 3
    assert len(list(site.staging.glob("_runs/*/*"))) == 1


def test_what_is_lost_stays_named(site: Site) -> None:
    site.deliver("anna", "ben")
    run = site.run("backup")["run"]
    (file,) = site.staging.glob("primary/early/*.mha")
    file.unlink()
    site.deliver("ben")
    site.run("backup", status=3)
    manifest = (site.staging / "_ready" / f"{run}.sha256").read_text()
    assert str(file.relative_to(site.staging)) in manifest


def test_a_manifest_that_can_not_be_made_is_told_and_made_next_time(site: Site) -> None:
    site.deliver("anna")
    site.staging.mkdir()
    (site.staging / "_ready").write_text("no directory")
    done = site.run("backup", status=3)
    assert done["state"] == "done"
    assert "the manifest of the run is not there" in done["troubles"][0]
    (site.staging / "_ready").unlink()
    site.run("backup")
    assert len(site.manifests()) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to a group that is not ours: needs root")
def test_a_group_can_read_archives_and_nothing_else(site: Site) -> None:
    group = grp.getgrnam("mail").gr_name
    nobody = pwd.getpwnam("nobody")
    site.configure(group=group, mode="0640")
    site.deliver("anna", "ben")
    site.run("backup")

    def seen_by_group(path: Path) -> bool:
        child = os.fork()
        if child == 0:  # the member of the group; leaves without a word to pytest
            try:
                os.setgroups([grp.getgrnam(group).gr_gid])
                os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
                os.setuid(nobody.pw_uid)
                path.read_bytes() if path.is_file() else os.listdir(path)
            except OSError:
                os._exit(1)
            os._exit(0)
        return os.waitpid(child, 0)[1] == 0

    there = [path for path in site.staging.rglob("*") if ".mailhaul" not in path.parts]
    assert len(there) > 6
    for path in (site.staging, *there):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path
        assert path.stat().st_gid == grp.getgrnam(group).gr_gid
        assert seen_by_group(path), path
    assert not seen_by_group(site.staging / ".mailhaul")

    # Files that come later by a purge join those that are there.
    for user in ("anna", "ben"):
        site.deliver(user)
        site.run("backup")
        site.expunge(user)
    site.run("backup")
    site.run("purge")
    assert {stat.S_IMODE(path.stat().st_mode) for path in site.staging.rglob("*.mha")} == {0o640}


def test_an_unknown_group_is_refused_before_anything_is_done(site: Site) -> None:
    site.configure(group="no-such-group")
    site.deliver("anna")
    assert site.run("backup", status=2)["error"]["code"] == "config"
    assert not site.staging.exists()


def test_modes_let_others_read_and_no_more(site: Site) -> None:
    for mode in ("0660", "0700", "777", "rw-r-----"):
        site.configure(mode=mode)
        assert "staging.mode" in site.run("backup", status=2)["error"]["message"]


def test_the_layout_is_as_documented(site: Site, root: Path) -> None:
    layout = (root / "docs" / "staging-layout.md").read_text()
    # With an asterisk: of several files at once, in the list of those that name people.
    tables = re.findall(r"^\| `([^`*]+)` \|", layout, re.MULTILINE)
    name = "[A-Za-z0-9][A-Za-z0-9._-]*"
    words = {"PARTITION": name, "GROUP": name, "RUN": RUN, "SHARD": "[0-9]+", "ID": "[0-9a-f]{16}"}
    words |= {"gN": "g[0-9]+", "N": "[0-9]+", "YEAR": "[0-9]{4}", "...": ".+", "VERSION": "[0-9.]+"}
    patterns = {
        name: "".join(words.get(word, re.escape(word)) for word in re.split(r"(\.\.\.|[./-])", name))
        for name in tables
    }
    site.deliver("anna", "anna", "anna", "ben")
    site.run("backup")
    for user in ("anna", "anna"):
        site.expunge(user)
    site.deliver("anna")
    site.run("backup")
    site.run("purge")
    # What is left of a run that is killed.
    anna = next(site.staging.glob("primary/early/*.mha"))
    anna.with_name(f"{anna.name}.3.partial").touch()
    seen = set()
    for path in site.staging.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(site.staging))
            matching = [documented for documented, one in patterns.items() if re.fullmatch(one, name)]
            assert len(matching) == 1, (name, matching)
            seen.update(matching)
    of_a_crash = {"_runs/YEAR/....partial", "_ready/RUN.sha256.new"}
    encrypted = {"_catalog/RUN.N.….gz.sealed", "_keys/XX/ID.N.mhk", "_vault/AREA.N.vault.sealed"}
    of_the_page = {".mailhaul/audit.jsonl"}
    assert set(tables) - seen == of_a_crash | encrypted | of_the_page
