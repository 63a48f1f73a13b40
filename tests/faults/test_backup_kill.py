"""kill -9 of the program and of its workers at random points of a backup, again and again.

After each: every file with a final name is whole, no process is left over, and the next run succeeds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.reader import Contents, LocalFile, open_sealed
from mailhaul.worker.verify import verify_frames, verify_messages

_PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mail") / "store"
    maker = root / "deploy" / "demo" / "make_store.py"
    subprocess.run(
        [sys.executable, maker, place, "--messages", "800", "--seed", "5"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=_PATIENCE_SECONDS,
    )
    return place


def start(store: Path, staging: Path) -> subprocess.Popen[str]:
    arguments = [
        "backup",
        "--store",
        f"maildir:{store}",
        "--staging",
        str(staging),
        "--workers",
        "2",
        "--json",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "mailhaul", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def check_archive(path: Path) -> int:
    """Every frame and every message of a sealed archive; returns how many messages there are."""
    file = LocalFile(str(path))
    try:
        assert verify_frames(file).damaged == ()
        archive = open_sealed(file)
        report = verify_messages(archive, Contents(lambda _: archive), LogicalPath(), lambda _: None)
    finally:
        file.close()
    assert report.damaged == ()
    return report.messages


def await_end(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "a worker outlived the program"
        time.sleep(0.02)


def finished(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = run.communicate(timeout=_PATIENCE_SECONDS)
    return run.returncode, out, err


@pytest.mark.timeout(1800)
def test_killed_at_random_points(store: Path, tmp_path: Path, rounds: int) -> None:
    staging = tmp_path / "staging"
    stored, whole_seconds = complete_run(store, staging)
    assert stored > 500
    rng = random.Random(20)
    hit = {"program": 0, "worker": 0}
    partials = 0
    for _ in range(rounds):
        victim = rng.choice(["program", "worker"])
        run = start(store, staging)
        workers = await_workers(run)
        time.sleep(rng.uniform(0, 0.6 * whole_seconds))
        partials += any(staging.rglob("*.partial"))
        if run.poll() is None:
            hit[victim] += kill(run.pid if victim == "program" else rng.choice(workers))
        code, _, err = finished(run)
        await_end(workers)
        if victim == "worker":
            assert code == 0, f"a killed worker must be replaced: {err}"
        check_and_remove(staging)
        if victim == "program":
            again, whole_seconds = complete_run(store, staging)
            assert again == stored
    assert min(hit.values()) >= rounds // 4, f"the faults must fire: {hit}"
    assert partials or rounds < 20, "no round stopped a run in the middle of an archive"


def complete_run(store: Path, staging: Path) -> tuple[int, float]:
    """A run that nobody disturbs: messages stored, and how long the work took after the start."""
    run = start(store, staging)
    await_workers(run)
    began = time.monotonic()
    code, out, err = finished(run)
    assert code == 0, err
    seconds = time.monotonic() - began
    stored = json.loads(out)["messages"]
    assert check_and_remove(staging) == stored
    assert not list(staging.rglob("*.partial"))
    return stored, seconds


def await_workers(run: subprocess.Popen[str]) -> list[int]:
    """The workers of a run, as soon as there are two (or the run has ended)."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(workers := children(run.pid)) < 2 and run.poll() is None:
        assert time.monotonic() < deadline, "no workers"
        time.sleep(0.005)
    return workers


def check_and_remove(staging: Path) -> int:
    """Check every sealed archive, then make room; returns how many messages they hold."""
    archives = list(staging.rglob("*.mha"))
    messages = sum(map(check_archive, archives))
    for archive in archives:
        archive.unlink()
    return messages


def kill(pid: int) -> bool:
    """Whether there was something to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
