"""A run that is killed goes on with ``backup --resume``: what is sealed is not touched, the rest is done."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mailhaul.proto.archive.draft import read_draft
from mailhaul.proto.archive.files import LocalFile

from ..trees import differences, snapshot

PROGRAM = [sys.executable, "-P", "-m", "mailhaul"]
PATIENCE_SECONDS = 60.0
CONFIG = """
[staging]
path = "staging"
reserve = "1 MB"
[[partition]]
format = "maildir"
path = {store}
[groups]
file = "groups.conf"
[dispatch]
workers_per_host = 2
[load]
messages_per_second = {rate}
"""
GROUPS = "a=.*org/[a-o].*\nb=.*org/[p-z].*\nc=.*net/[a-k].*\nd=.*net/[l-z].*\n"


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mail") / "store"
    maker = root / "deploy" / "demo" / "make_store.py"
    subprocess.run(
        [sys.executable, maker, place, "--messages", "800", "--seed", "8"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
    )
    return place


class Place:
    """A configuration, its staging area, and the command run there."""

    def __init__(self, place: Path, store: Path) -> None:
        self.place = place
        self.store = store
        self.staging = place / "staging"
        (place / "groups.conf").write_text(GROUPS)

    def arguments(self, *arguments: str, rate: int = 1_000_000) -> list[str]:
        config = self.place / f"{rate}.toml"
        config.write_text(CONFIG.format(store=json.dumps(str(self.store)), rate=rate))
        return [*PROGRAM, "--config", str(config), *arguments]

    def run(self, *arguments: str, status: int = 0) -> Any:
        done = subprocess.run(
            self.arguments(*arguments, "--json"),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def sealed(self) -> dict[str, bytes]:
        return {file.name: hashlib.sha256(file.read_bytes()).digest() for file in self.staging.rglob("*.mha")}

    def start(self, rate: int) -> subprocess.Popen[bytes]:
        """A backup that is slow, in a process group of its own."""
        return subprocess.Popen(
            self.arguments("backup", "--json", rate=rate),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def check(self) -> None:
        """Everything in the backup is whole, and is what the store holds."""
        assert self.run("verify", "--data")["damaged"] == []
        target = self.place / "restored"
        self.run("restore", "/", "--to", f"maildir:{target}")
        for mailbox in sorted(self.store.glob("*/*")):
            restored = target / mailbox.relative_to(self.store)
            assert differences(snapshot(mailbox), snapshot(restored)) == []
        assert not list(self.staging.rglob("*.partial"))


@pytest.mark.parametrize("whom", ["coordinator", "everybody"])
def test_killed_and_resumed(store: Path, tmp_path: Path, whom: str) -> None:
    here = Place(tmp_path, store)
    run = here.start(rate=250)
    await_archives(here, run)
    time.sleep(random.Random(whom).uniform(0.1, 0.5))
    if whom == "coordinator":
        run.kill()  # its workers notice, and end by themselves
    else:
        os.killpg(run.pid, signal.SIGKILL)
    assert run.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    sealed = here.sealed()
    (record,) = here.run("runs")["runs"]
    assert record["sealed_units"] < record["planned_units"], "the run had ended before it was killed"

    result = here.run("backup", "--resume", "latest")

    assert result["state"] == "done"
    assert result["sealed_before"] == record["sealed_units"]
    assert result["sealed_before"] + len(result["units"]) == record["planned_units"]
    assert {name: digest for name, digest in here.sealed().items() if name in sealed} == sealed
    here.check()
    message = here.run("backup", "--resume", "latest", status=2)["error"]["message"]
    assert "nothing is left to do" in message


def test_a_new_run_instead_of_a_resumed_one(store: Path, tmp_path: Path) -> None:
    here = Place(tmp_path, store)
    run = here.start(rate=250)
    await_archives(here, run)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(PATIENCE_SECONDS)
    (killed,) = here.run("runs")["runs"]
    assert here.run("backup")["state"] == "done"
    message = here.run("backup", "--resume", killed["run"], status=2)["error"]["message"]
    assert "a later run has stored something" in message or "the later run" in message
    here.check()


def test_a_lock_that_lives(store: Path, tmp_path: Path) -> None:
    here = Place(tmp_path, store)
    run = here.start(rate=40)
    try:
        await_archives(here, run)
        assert here.run("backup", "--resume", "latest", status=5)["error"]["code"] == "locked"
        assert here.run("backup", status=5)["error"]["code"] == "locked"
    finally:
        run.terminate()  # ends in order: what is sealed stays, what is not goes on later
        assert run.wait(PATIENCE_SECONDS) == 143
    assert here.run("backup", "--resume", "latest")["state"] == "done"
    here.check()


def test_a_purge_between_kill_and_resume(tmp_path: Path) -> None:
    """What a killed run has written may refer to data that nothing else needs any more. A purge takes that
    away, so the run can't go on."""
    store = tmp_path / "store"
    letters = "".join(random.Random(1).choices("abcdefghijklmnop", k=200_000))
    deliver(store, "amy", "first", letters)
    deliver(store, "bob", "first", "little")
    here = Place(tmp_path, store)
    here.run("backup")
    next((store / "example.org/amy/Maildir/cur").iterdir()).unlink()
    deliver(store, "amy", "second", "something else")
    here.run("backup")
    deliver(store, "amy", "third", letters)
    for number in range(400):
        deliver(store, "bob", str(number), f"{number}")
    run = here.start(rate=40)
    await_mailbox(here, run)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(PATIENCE_SECONDS)
    killed = here.run("runs")["runs"][0]
    assert killed["sealed_units"] == 0, "the run had ended before it was killed"

    assert here.run("purge", "--last", "1")["compacted"], "nothing was taken away"

    message = here.run("backup", "--resume", "latest", status=2)["error"]["message"]
    assert "a purge" in message
    here.run("backup")
    here.check()


def deliver(store: Path, user: str, name: str, text: str) -> None:
    """A message into an INBOX."""
    place = store / "example.org" / user / "Maildir"
    for directory in ("cur", "new", "tmp"):
        (place / directory).mkdir(parents=True, exist_ok=True)
    (place / "cur" / f"{name}.host:2,S").write_text(f"Subject: {name}\n\n{text}\n")


def await_mailbox(here: Place, run: subprocess.Popen[bytes]) -> None:
    """Wait until a run has completed the first mailbox of an archive."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(map(has_mailbox, here.staging.rglob("*.partial"))):
        assert run.poll() is None, "the run has ended already"
        assert time.monotonic() < deadline, "nothing is written"
        time.sleep(0.02)


def has_mailbox(partial: Path) -> bool:
    file = LocalFile(str(partial))
    try:
        return read_draft(file) is not None
    finally:
        file.close()


def await_archives(here: Place, run: subprocess.Popen[bytes]) -> None:
    """Wait until a unit is sealed or well on its way, while the run goes on."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(file.stat().st_size > 100_000 for file in here.staging.rglob("*.mha*")):
        assert run.poll() is None, "the run has ended already"
        assert time.monotonic() < deadline, "nothing is written"
        time.sleep(0.02)
