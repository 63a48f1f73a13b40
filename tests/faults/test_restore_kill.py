"""kill -9 of a restore at random points: what is visible is whole, and the next restore finishes it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..trees import Entry, differences, names_of_files, snapshot

_PROGRAM = (sys.executable, "-m", "mailhaul")


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_PROGRAM, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def store(root: Path, tmp_path: Path) -> Path:
    place = tmp_path / "store"
    maker = root / "deploy" / "demo" / "make_store.py"
    done = subprocess.run(
        [sys.executable, maker, place, "--messages", "1500"], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return place


def comparable(root: Path) -> dict[bytes, Entry]:
    """All but the times of directories: a mailbox that was there already is only added to."""
    return {
        where: (*entry[:4], 0, entry[5]) if entry[0] == "directory" else entry
        for where, entry in snapshot(root).items()
    }


@pytest.mark.timeout(900)
def test_killed_restore_is_finished_by_the_next(store: Path, tmp_path: Path, rounds: int) -> None:
    staging = tmp_path / "staging"
    done = command("backup", "--store", f"maildir:{store}", "--staging", staging, "--workers", "2")
    assert done.returncode == 0, done.stderr
    original = comparable(store)
    rng = random.Random(7)
    broken_off = 0
    for number in range(rounds // 10 if rounds > 100 else 3):
        target = tmp_path / f"restored{number}"
        restore = ("restore", "/", "--staging", staging, "--to", f"maildir:{target}", "--workers", "2")
        run = subprocess.Popen([*_PROGRAM, *restore], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not target.exists() and run.poll() is None:
            assert time.monotonic() < deadline, "the restore does not begin"
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
        broken_off += run.poll() is None
        run.kill()
        run.wait(60)
        time.sleep(1.5)  # its workers notice within a second, and what they do is looked at
        seen = {where for where in comparable(target) if b".mailhaul-restore-" not in where}
        assert seen <= original.keys(), "something is visible that never was in the store"
        done = command(*restore)
        assert done.returncode == 0, done.stderr
        assert differences(original, comparable(target)) == []
        assert names_of_files(target) == names_of_files(store)
    assert broken_off, "no restore was killed while it went on"
