"""Processes of operations: asked to end, killed with all that they have started, and others that hold what
operations need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.readers import reading
from mailhaul.coordinator.service.records import Operation, Request
from mailhaul.coordinator.serving.files import is_carried_out
from mailhaul.coordinator.serving.outside import outside
from mailhaul.coordinator.serving.processes import ask_to_end, kill
from mailhaul.coordinator.serving.rules import ARCHIVES, RUN, Going, Needs, sweep_lock
from mailhaul.coordinator.sweeping.locks import sweeping

from .serving import Served, wait_until
from .test_operations import deliver, ended

NOW = datetime(2026, 3, 1, tzinfo=UTC)

OPERATION = """
import os, signal, subprocess, sys, time
from pathlib import Path
from mailhaul.coordinator.serving.files import carrying_out

signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == "deaf" else signal.SIG_DFL)
with carrying_out(Path(sys.argv[1]), 1):
    child = subprocess.Popen(["sleep", "600"])
    print(child.pid, flush=True)
    time.sleep(600)
"""

HOLDER = """
import sys, time
from pathlib import Path
from mailhaul.coordinator.lock import RunLock

with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def process(script: str, *words: str | Path) -> Iterator[tuple[int, str]]:
    """A process in a session of its own, when it has printed a line: its id, and the line."""
    started = subprocess.Popen(
        [sys.executable, "-P", "-c", script, *words],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert started.stdout
        yield started.pid, started.stdout.readline().strip()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


def operation(pid: int, number: int = 1) -> Operation:
    request = Request(kind="backup", asked_by="cli:root")
    return Operation(id=number, request=request, asked=NOW, state="stopping", pid=pid)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_is_asked_to_end(tmp_path: Path) -> None:
    with process(OPERATION, tmp_path, "hears") as (pid, _):
        ask_to_end(tmp_path, operation(pid))
        wait_until(lambda: not is_carried_out(tmp_path, 1))


def test_one_that_does_not_hear_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    with process(OPERATION, tmp_path, "deaf") as (pid, child):
        ask_to_end(tmp_path, operation(pid))
        assert is_carried_out(tmp_path, 1)
        kill(tmp_path, operation(pid))
        wait_until(lambda: not is_carried_out(tmp_path, 1))
        wait_until(lambda: not is_alive(int(child)))


def test_a_process_that_does_not_hold_the_lock_is_left_alone(tmp_path: Path) -> None:
    """An id on record may be that of anybody by now."""
    with process(OPERATION, tmp_path, "hears") as (pid, _):
        ask_to_end(tmp_path, operation(pid, number=2))
        kill(tmp_path, operation(pid, number=2))
        assert is_carried_out(tmp_path, 1)
    ask_to_end(tmp_path, operation(pid))
    kill(tmp_path, operation(pid))


def test_what_others_hold_is_found(tmp_path: Path) -> None:
    def held(*going: Going) -> dict[str, str]:
        return dict(outside(tmp_path, going, [RUN, ARCHIVES, sweep_lock("vault")]).held)

    assert held() == {}
    with process(HOLDER, tmp_path) as (pid, _):
        assert held() == {RUN: f"a process (pid {pid}) holds the lock of the staging area"}
        ours = Going(operation(pid), Needs(alone=frozenset({"sweep:vault"})))
        assert held(ours) == {RUN: "an operation holds the lock of the staging area"}
    with ExitStack() as stack:
        stack.enter_context(reading(tmp_path))
        stack.enter_context(sweeping(tmp_path, "vault"))
        assert held() == {
            ARCHIVES: "archives are being read by another program",
            "sweep:vault": "another sweep to vault goes on",
        }
        ours = Going(operation(1), Needs(alone=frozenset({"sweep:vault"}), shared=frozenset({ARCHIVES})))
        assert held(ours) == {}


@pytest.mark.parametrize("config", ["mailhaul.toml", "purge"])
def test_a_command_is_named_without_its_arguments(tmp_path: Path, config: str) -> None:
    served = Served(tmp_path, more='\n[hooks]\nbefore_run = ["sleep", "600"]\n')
    deliver(served)
    named = tmp_path / config
    named.write_text(served.config.read_text())
    words = [served.words()[0], "--config", named, "backup", "/primary"]
    backup = subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True)
    try:
        found = wait_until(lambda: served.staging.exists() and outside(served.staging, (), [RUN]).held)
        assert found == {RUN: f"`mailhaul backup` (pid {backup.pid}) holds the lock of the staging area"}
    finally:
        os.killpg(backup.pid, signal.SIGKILL)
        backup.communicate()


def test_an_operation_that_finds_the_lock_taken_waits_again(tmp_path: Path) -> None:
    served = Served(tmp_path)
    deliver(served)
    let_go = served.hold_run_lock()
    number = served.put_in("backup")
    run = served.words("operations", "run", str(number))
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 5
    one = served.operation(number)
    assert (one.state, one.attempts, one.deaths) == ("waiting", 1, 0)
    assert "another run holds the lock" in one.waits_for
    let_go()
    with served.serving():
        assert ended(served, number).state == "done"
    again = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert (again.returncode, served.operation(number).attempts) == (0, 2), "it is not done twice"
