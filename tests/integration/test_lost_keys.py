"""Encrypted archives that have left the staging area: they come back, are compared with the live store, and
mend it; and all is lost but a destination and a private key, on paper."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.coordinator.structure_keys import read_structure_keys
from mailhaul.proto.keys.paper import paper_text
from mailhaul.proto.keys.recipients import recipient, write_recipient
from mailhaul.proto.keys.records import Kem
from mailhaul.proto.keys.secret_files import Secret
from mailhaul.proto.keys.wrapping import public_of
from mailhaul.tests.tapes import taken_off

from ..trees import differences
from ..verifying import command, command_status
from ..verifying import run as run_command
from .guarded import LAYOUT, USERS, GuardedSite, files_in, found_in, mail_in
from .runbooks import Step, runbook
from .servers.object_storage import moto

pytestmark = pytest.mark.xdist_group("object storage")

WHERE = ("vault", "bucket", "drive")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> GuardedSite:
    """Three nights, which have left the staging area."""
    made = GuardedSite(tmp_path_factory.mktemp("site"), moto(), WHERE)
    for _ in range(3):
        made.night()
        made.run("sweep")
    made.run("sweep")
    assert not list(made.staging.glob("primary/*/*.mha")), "all has left"
    return made


def blank(site: GuardedSite, place: Path, name: str) -> tuple[str, Path]:
    """A machine with nothing but a configuration, one destination, and paper: the configuration's option, and
    the key as it was typed."""
    names, site.names = site.names, (name,)
    try:
        config = site.configured(place)
    finally:
        site.names = names
    (place / "staging").mkdir()
    return f"--config {config}", site.paper(place)


@pytest.mark.parametrize(
    ("name", "every_archive"), [("vault", False), ("bucket", False), ("drive", False), ("vault", True)]
)
def test_of_a_lost_house_a_destination_and_paper_are_enough(
    site: GuardedSite, tmp_path: Path, name: str, every_archive: bool
) -> None:
    config, typed = blank(site, tmp_path, name)
    if name == "drive":
        command(f"{config} tape inventory", name)
    how = ["--every-archive"] if every_archive else []
    ended, told = command_status(f"{config} catalog rebuild", "--from", name, *how)
    assert ended == 1
    assert "for ops" in str(told)
    assert "--identity" in str(told)
    rebuilt = command(f"{config} catalog rebuild", "--from", name, "--identity", typed, *how)
    assert (rebuilt["missing"], rebuilt["damaged"], rebuilt["refused"]) == ([], [], [])
    assert bool(rebuilt["origin"]) is not every_archive
    (own,) = (tmp_path / "keys").glob("*.structure")
    assert own.read_bytes() == next(site.keys.glob("*.structure")).read_bytes()
    assert own.stat().st_mode & 0o777 == 0o600
    assert not [path for path in (tmp_path / "staging/_catalog").iterdir() if path.suffix != ".sealed"]
    for number, (run, mail) in enumerate(site.moments.items()):
        target = tmp_path / f"restored-{number}"
        words = ("--at", run, "--to", f"maildir:{target}/{LAYOUT}", "--identity", typed)
        command(f"{config} restore", "/", *words)
        assert differences(mail, mail_in(target)) == []
    if name == "vault" and not every_archive:
        told = command(f"{config} backup", "--workers", "1")
        assert told["read"] == 0, "nights go on"


def test_a_directory_of_copies_becomes_a_staging_area(site: GuardedSite, tmp_path: Path) -> None:
    """As README.txt says."""
    staging, typed = tmp_path / "copies", site.paper(tmp_path)
    shutil.copytree(site.place / "vault", staging)
    keys = tmp_path / "keys"
    words = ("--staging", staging, "--keys")
    assert command_status("catalog rebuild", *words, staging / "keys", "--identity", typed)[0] == 2
    rebuilt = command("catalog rebuild", *words, keys, "--identity", typed)
    assert (rebuilt["archives"], rebuilt["missing"], rebuilt["damaged"]) == (3, [], [])
    target = tmp_path / "restored"
    where = ("--staging", staging, "--to", f"maildir:{target}/{LAYOUT}")
    command("restore", "/", *where, "--identity", typed)
    assert differences(site.moments[max(site.moments)], mail_in(target)) == []
    assert not found_in({name: data for name, data in files_in(staging).items() if name[0] != "."})


def test_a_structure_key_that_was_brought_back_is_enough_to_know_what_there_is(
    site: GuardedSite, tmp_path: Path
) -> None:
    config, _ = blank(site, tmp_path, "vault")
    (tmp_path / "keys").mkdir(mode=0o700)
    (own,) = site.keys.glob("*.structure")
    shutil.copy(own, tmp_path / "keys")
    rebuilt = command(f"{config} catalog rebuild", "--from", "vault")
    assert (rebuilt["archives"], rebuilt["missing"], rebuilt["damaged"]) == (3, [], [])
    assert str(rebuilt["origin"]).endswith(".sealed")
    told = command(f"{config} ls", "/primary/user")
    assert all(user in str(told) for user in USERS)
    assert command(f"{config} backup", "--workers", "1")["read"] == 0


def test_whoever_was_added_later_opens_a_lost_house(tmp_path: Path) -> None:
    site = GuardedSite(tmp_path / "site", moto())
    site.night()
    private = os.urandom(32)
    safe = recipient("safe", Kem.X25519, public_of(Kem.X25519, private))
    added = site.run(
        "keys recipient add", write_recipient(tmp_path, safe), "--identity", site.paper(tmp_path)
    )
    assert added["written"] == 1
    site.run("sweep")
    config, typed = blank(site, tmp_path, "vault")
    secret = Secret(name="safe", kem=Kem.X25519, recipient=safe.id, private=private)
    typed.write_text(paper_text(secret))
    rebuilt = command(f"{config} catalog rebuild", "--from", "vault", "--identity", typed)
    assert (rebuilt["archives"], rebuilt["damaged"]) == (1, [])
    target = tmp_path / "restored"
    command(f"{config} restore", "/", "--to", f"maildir:{target}/{LAYOUT}", "--identity", typed)
    assert differences(site.moments[max(site.moments)], mail_in(target)) == []


def test_archives_of_others_at_the_destination_are_said_and_keep_nobody(tmp_path: Path) -> None:
    """Of somebody who could write there: for another recipient, and for this one under a key of his own."""
    site, other = GuardedSite(tmp_path / "site", moto()), GuardedSite(tmp_path / "other", moto())
    site.night()
    site.run("sweep")
    other.night()
    (foreign,) = other.staging.glob("primary/user/*.mha")
    shutil.copy(foreign, site.place / "vault/primary/user" / foreign.name)
    own = GuardedSite(tmp_path / "own", moto())
    own.public = site.public
    own.configured(own.place)
    own.night()
    (planted,) = own.staging.glob("primary/user/*.mha")
    shutil.copy(planted, site.place / "vault/primary/user" / planted.name)
    config, typed = blank(site, tmp_path, "vault")
    ended, _, error = run_command(*f"{config} catalog rebuild --from vault --identity".split(), typed)
    assert ended == 4
    assert f"vault:primary/user/{foreign.name}" in error
    ids = [
        read_structure_keys(next(guarded_site.keys.glob("*.structure")))[0].id.hex()
        for guarded_site in (site, own)
    ]
    assert all(f"structure key {one} came out" in error for one in ids), error
    run_id = max(site.moments)
    target = tmp_path / "restored"
    words = ("--at", run_id, "--to", f"maildir:{target}/{LAYOUT}", "--identity", typed)
    command(f"{config} restore", "/", *words)
    assert differences(site.moments[run_id], mail_in(target)) == []


def test_archives_come_back_without_a_private_key(site: GuardedSite, tmp_path: Path) -> None:
    wanted = sorted(path.name for path in (site.place / "vault/primary/user").iterdir())
    left = site.staging / "primary/user" / f"{wanted[0]}.0.partial"  # by a recall that was killed
    whole = (site.place / "vault/primary/user" / wanted[0]).read_bytes()
    left.write_bytes(whole[: len(whole) * 2 // 3])
    shutil.move(site.keys, tmp_path / "keys")
    ended, told = command_status(f"--config {site.config} recall", "/")
    assert (ended, "for ops" in str(told)) == (1, True), "it takes the structure to know what is needed"
    shutil.move(tmp_path / "keys", site.keys)
    site.run("recall", "/")
    back = sorted(site.staging.glob("primary/user/*.mha"))
    assert [one.name for one in back] == wanted
    assert all(
        one.read_bytes() == (site.place / "vault/primary/user" / one.name).read_bytes() for one in back
    )
    site.run("sweep")
    assert not list(site.staging.glob("primary/user/*.mha"))


@pytest.mark.parametrize("data", [False, True])
def test_a_live_store_is_compared_without_a_private_key_and_mended_with_it(
    site: GuardedSite, tmp_path: Path, data: bool
) -> None:
    how = ["--data"] if data else []
    before = mail_in(site.store, times=False)
    found = site.run("check", "/", *how)
    assert (found["messages"] > 0, found["damaged"], found["unlooked"]) == (True, [], [])
    broken = min((site.boxes[USERS[0]].root / "cur").iterdir())
    content, times = broken.read_bytes(), broken.stat()
    broken.write_bytes(content[: len(content) // 2])
    os.utime(broken, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = site.run("check", "/", *how, status=(4,))
    assert found["damaged_messages"] == 1
    ended, told = command_status(f"--config {site.config} restore", "--only-damaged", "/")
    assert (ended, "for ops" in str(told)) == (1, True)
    site.run("restore", "--only-damaged", "/", "--identity", site.paper(tmp_path))
    assert broken.read_bytes() == content
    assert differences(before, mail_in(site.store, times=False)) == []


def carry_out(steps: list[Step], place: Path, instead: dict[str, str], **environment: str) -> None:
    """The commands of a runbook as they stand there, but for places of this machine."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for step in steps:
        line = step.line
        for word, other in instead.items():
            line = line.replace(word, other)
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=place,
            env={**os.environ, "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == step.status, (line, done.stdout, done.stderr)


@pytest.mark.parametrize("way", ["bucket", "drive", "python"])
def test_the_runbook(site: GuardedSite, tmp_path: Path, root: Path, way: str) -> None:
    """Typed from paper, on a machine that has nothing."""
    document = root / "docs" / "recovery.md"
    typing, *ways = runbook(document, "All is lost but a key on paper")
    instead = {
        "/dev/shm": str(tmp_path),
        "/srv": f"{tmp_path}/srv",
        "/mnt/vault": str(site.place / "vault"),
    }
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\ncat > "$1" <<END\n{paper_text(site.secret)}END\n')
    editor.chmod(0o700)
    carry_out(typing, tmp_path, instead, EDITOR=str(editor))
    assert (tmp_path / "typed").stat().st_mode & 0o777 == 0o600
    text = document.read_text().split("### All is lost but a key on paper")[1]
    config = text.split("```toml\n")[1].split("```\n")[0]
    if way == "bucket":
        for word, other in (
            ("https://s3.example.org", site.server.endpoint),
            ('"mail"', f'"{site.bucket}"'),
            ("/srv/mailhaul/vault.env", str(site.place / "bucket.env")),
        ):
            assert word in config
            config = config.replace(word, other)
    elif way == "drive":
        config = config.split("[[destination]]")[0] + site.destination("drive")
    (tmp_path / "mailhaul.toml").write_text(config.replace("/srv", f"{tmp_path}/srv"))
    carry_out(ways[["bucket", "drive", "python"].index(way)], tmp_path, instead)
    newest = site.moments[max(site.moments)]
    assert differences(newest, mail_in(tmp_path / "srv/new")) == []


def from_vault(site: GuardedSite, _place: Path) -> Path:
    return site.place / "vault"


def from_bucket(site: GuardedSite, place: Path) -> Path:
    for name, data in site.objects().items():
        if "\n" not in name:
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    return place / "site1"


def from_tapes(site: GuardedSite, place: Path) -> Path:
    for name, data in taken_off(sorted((site.place / "tapes").glob("*.tap"))).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


@pytest.mark.parametrize("fetched", [from_vault, from_bucket, from_tapes])
def test_with_nothing_but_python_and_paper(
    site: GuardedSite, tmp_path: Path, fetched: Callable[[GuardedSite, Path], Path]
) -> None:
    files = fetched(site, tmp_path / "files")
    (reader,) = files.glob("mailhaul-restore-*.py")
    typed = site.paper(tmp_path)
    for number, (run, mail) in enumerate(site.moments.items()):
        target = tmp_path / f"restored-{number}"
        words: list[str | Path] = [reader, files, "--to", target, "--run", run, "--layout", LAYOUT]
        words += ["--identity", typed]
        done = subprocess.run(
            [sys.executable, "-I", *words], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done
        assert differences(mail, mail_in(target)) == []
        shutil.rmtree(target)
    table = max(files.glob("_catalog/*.names.tsv.gz.sealed"))
    words = [reader, files, "--open", table, "--identity", typed]
    opened = subprocess.run([sys.executable, "-I", *words], capture_output=True, timeout=120, check=True)
    text = gzip.decompress(opened.stdout).decode()
    assert all(f"mailbox\tprimary\tuser\t{user}\t" in text for user in USERS)
