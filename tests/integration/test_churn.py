"""A month in the life of a mail store: it changes each day, is backed up each night, purged, killed at.

Every night's state is restored and compared with the store as it was, exactly: files, names, flags, UIDs,
times, owners. ``--rounds 600`` makes thirty nights of it, ``make soak`` fifty.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ..trees import Entry, differences, snapshot

pytestmark = pytest.mark.timeout(3600)

_TIMEOUT_SECONDS = 120

CONFIG = """\
[staging]
path = "staging"

[[partition]]
name = "p1"
format = "maildir"
path = {first}

[[partition]]
name = "p2"
format = "maildir"
path = {second}

[retention]
last = 5
compact_below = 0.9

[dispatch]
workers_per_host = 2
"""


@dataclass
class Month:
    """A store of two partitions, its backup, and what it looked like after each night."""

    place: Path
    maker: Path
    corpus: Path
    random: random.Random
    nights: dict[str, dict[bytes, Entry]] = field(default_factory=dict)
    killed: int = 0

    def __post_init__(self) -> None:
        self.store = self.place / "store"
        self.config = self.place / "mailhaul.toml"
        self.config.write_text(
            CONFIG.format(first=json.dumps(str(self.store / "p1")), second=json.dumps(str(self.store / "p2")))
        )
        self._make("--mailboxes", "12", "--messages", "600", "--partitions", "2", "--attachments")

    def day(self) -> None:
        """Deliveries, flags, moves, expunges, a new mailbox, a deleted one, a renamed folder."""
        self._make("--churn", "0.05")

    def night(self) -> str:
        """Back up, and remember what the store looks like under the id of the run."""
        told = self.run("backup")
        assert told["failures"] == [], told
        self.nights[told["run"]] = self.state()
        return str(told["run"])

    def state(self) -> dict[bytes, Entry]:
        """The mail of both partitions; no user has some in both."""
        return homes(self.store / "p1") | homes(self.store / "p2")

    def check(self, run: str) -> None:
        """Restore a night and compare."""
        target = self.place / "restored"
        restored = self.run("restore", "/", "--at", run, "--to", f"maildir:{target}")
        assert (restored["skipped"], restored["damaged"]) == ([], [])
        assert differences(self.nights[run], homes(target)) == [], run
        shutil.rmtree(target)

    def run(self, command: str, *arguments: str | Path, statuses: tuple[int, ...] = (0, 3)) -> Any:
        """Run a command to its end; what it printed. Status 3 (alarms of small mailboxes) is no fault."""
        done = subprocess.run(
            self._command(command, *arguments),
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode in statuses, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def kill(self, command: str, most_seconds: float) -> None:
        """Begin a command and kill it, with all that it started, at some moment."""
        process = subprocess.Popen(
            self._command(command),
            cwd=self.place,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(self.random.uniform(0.2, most_seconds))
        except subprocess.TimeoutExpired:
            self.killed += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(_TIMEOUT_SECONDS)

    def _command(self, command: str, *arguments: str | Path) -> list[str | Path]:
        return [sys.executable, "-m", "mailhaul", "--config", self.config, command, "--json", *arguments]

    def _make(self, *options: str) -> None:
        subprocess.run(
            [sys.executable, self.maker, "--corpus", self.corpus, "--out", self.store, *options],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
        )


def homes(root: Path) -> dict[bytes, Entry]:
    """What lies in the homes of the users below a directory."""
    return {where: entry for where, entry in snapshot(root).items() if b"/" in where}


@pytest.fixture
def nights(rounds: int) -> int:
    """How many there are."""
    return rounds // 20


@pytest.fixture
def month(shared: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Month:
    dice = random.Random(request.node.name)
    return Month(tmp_path, shared / "make_store.py", shared / "corpus" / "sample.tar.xz", dice)


def test_every_night_comes_back(month: Month, nights: int) -> None:
    """The newest is restored each time, and all of them at the end."""
    month.check(month.night())
    for _ in range(nights):
        month.day()
        month.check(month.night())
    for run in month.nights:
        month.check(run)
    assert month.run("verify", "--data")["damaged"] == []


def test_what_is_kept_comes_back(month: Month, nights: int) -> None:
    """The same with a purge after each night that keeps five, and compacts."""
    month.night()
    compacted = 0
    for _ in range(5 + nights):
        month.day()
        month.check(month.night())
        compacted += len(month.run("purge")["compacted"])
        for run in [*month.nights][:-5]:
            del month.nights[run]
        month.check(month.random.choice([*month.nights]))
    assert compacted
    for run in month.nights:
        month.check(run)
    assert month.run("verify", "--data")["damaged"] == []


def test_kills_at_any_step(month: Month, nights: int) -> None:
    """The same with kill -9 in the middle of backups and purges; the next one sets all right."""
    month.night()
    for night in range(nights):
        month.day()
        month.kill("backup", 1.5)
        run = month.night()
        month.kill("purge", 1.0)
        if night % 3:
            month.run("purge")
        month.check(run)
    assert month.killed >= nights // 2
    # A backup that was killed may have been over all of one partition by then: a moment of that one, of a
    # state that nobody has seen.
    kept = [{one["run"] for one in group["kept"]} for group in month.run("purge")["groups"]]
    checked = [run for run in month.nights if all(run in runs for runs in kept)]
    assert checked
    for run in checked:
        month.check(run)
    assert month.run("verify", "--data")["damaged"] == []
