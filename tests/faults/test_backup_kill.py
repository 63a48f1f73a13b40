"""kill -9 of the program, of its workers, of what these are forked from: at random points, again and again.

After each: every file with a final name is whole, no process is left over, and the next run succeeds. Every
run reads all and refers to nothing, so that each has all the work, and each archive can be checked by itself.
In the end the last one restores exactly.
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

from ..checking import check_archive
from ..trees import differences, snapshot
from ..verifying import command, mail_of

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
        "--self-contained",
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


def workers_of(run: subprocess.Popen[str]) -> list[int]:
    """The workers of a run: they are forked from a process that the program has for this."""
    return [worker for nursery in children(run.pid) for worker in children(nursery)]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


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
    sealed = Sealed(staging)
    stored, whole_seconds = complete_run(store, sealed)
    assert stored > 500
    rng = random.Random(20)
    hit = {"program": 0, "worker": 0, "nursery": 0}
    partials = 0
    for number in range(rounds):
        # A run may end before it is hit: whoever was hit least is next.
        victim = min(hit, key=lambda one: (hit[one], rng.random()))
        run = start(store, staging)
        await_workers(run)
        time.sleep(rng.uniform(0, 0.6 * whole_seconds))
        partials += any(staging.rglob("*.partial"))
        workers = workers_of(run)
        if run.poll() is None:
            victims = {"program": [run.pid], "worker": workers, "nursery": children(run.pid)}
            hit[victim] += bool(victims[victim]) and kill(rng.choice(victims[victim]))
        code, _, err = finished(run)
        await_end(workers)
        if victim != "program":
            assert code == 0, f"a killed worker must be replaced: {err}"
        sealed.check_new()
        if victim == "program":
            again, whole_seconds = complete_run(store, sealed)
            assert again == stored
        if number % 10 == 9:
            command("purge", "--last", "1", "--staging", staging)
    assert min(hit.values()) >= rounds // 6, f"the faults must fire: {hit}"
    assert partials or rounds < 20, "no round stopped a run in the middle of an archive"
    target = tmp_path / "restored"
    command("restore", "/", "--staging", staging, "--to", f"maildir:{target}")
    assert differences(mail_of(snapshot(store, times=False)), mail_of(snapshot(target, times=False))) == []


def complete_run(store: Path, sealed: Sealed) -> tuple[int, float]:
    """A run that nobody disturbs: messages stored, and how long the work took after the start."""
    run = start(store, sealed.staging)
    await_workers(run)
    began = time.monotonic()
    code, out, err = finished(run)
    assert code == 0, err
    seconds = time.monotonic() - began
    stored = json.loads(out)["messages"]
    assert sealed.check_new() == stored
    assert not list(sealed.staging.rglob("*.partial"))
    return stored, seconds


def await_workers(run: subprocess.Popen[str]) -> None:
    """Wait until a run has workers, or has ended."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not workers_of(run) and run.poll() is None:
        assert time.monotonic() < deadline, "no workers"
        time.sleep(0.005)


class Sealed:
    """The archives of a staging area, each checked once."""

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self._checked: set[Path] = set()

    def check_new(self) -> int:
        """Check every sealed archive that was not there before; returns how many messages they hold."""
        new = [path for path in self.staging.rglob("*.mha") if path not in self._checked]
        self._checked.update(new)
        return sum(map(check_archive, new))


def kill(pid: int) -> bool:
    """Whether there was something to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
