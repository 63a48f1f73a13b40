"""One run at a time: the lock is exclusive, names its owner, and dies with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mailhaul.coordinator.lock import RunLock, lock_owner
from mailhaul.proto.errors import EXIT_LOCKED, LockedError, StagingError
from mailhaul.proto.records import RunId

HOLD = """
import sys
from pathlib import Path
from mailhaul.coordinator.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_owner_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        lock.note_run(RunId("20261121T031500Z-4f3a"))
        with pytest.raises(
            LockedError, match=f"pid {os.getpid()} on .*, run 20261121T031500Z-4f3a"
        ) as refused:
            RunLock(tmp_path).__enter__()
    assert refused.value.exit_code == EXIT_LOCKED
    with RunLock(tmp_path):
        pass


def test_lock_of_a_killed_owner_is_free(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"pid {owner.pid} "):
            RunLock(tmp_path).__enter__()
        owner.send_signal(signal.SIGKILL)
        owner.wait(10)
    assert (tmp_path / ".mailhaul" / "lock").read_text().startswith(f"pid {owner.pid} ")
    with RunLock(tmp_path):
        pass


def test_a_process_started_under_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
        )
    try:
        with RunLock(tmp_path):
            pass
    finally:
        child.communicate(timeout=10)


def test_what_the_file_says_is_shown_harmlessly(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        (tmp_path / ".mailhaul" / "lock").write_bytes(b"\x1b[2J\xff" + b"x" * 10_000)
        with pytest.raises(LockedError) as refused:
            RunLock(tmp_path).__enter__()
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 1000


def test_staging_area_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StagingError, match=r"lock can't be opened: Not a directory"):
        RunLock(tmp_path / "file").__enter__()
    with pytest.raises(ValueError, match="not held"):
        RunLock(tmp_path).note_run(None)


def test_who_holds_it_can_be_asked_without_taking_it(tmp_path: Path) -> None:
    assert lock_owner(tmp_path) is None
    with RunLock(tmp_path) as lock:
        lock.note_run(RunId("20261121T031500Z-4f3a"))
        owner = lock_owner(tmp_path)
        assert owner is not None
        assert owner.startswith(f"pid {os.getpid()} on ")
        assert owner.endswith(", run 20261121T031500Z-4f3a")
        with pytest.raises(LockedError):
            RunLock(tmp_path).__enter__()
    assert lock_owner(tmp_path) is None
    (tmp_path / ".mailhaul" / "lock").unlink()
    (tmp_path / ".mailhaul" / "lock").symlink_to("/etc/passwd")
    with pytest.raises(StagingError, match="lock can't be opened"):
        lock_owner(tmp_path)


def test_those_who_ask_do_not_keep_anybody_from_taking_it(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        pass
    asked = 0
    ending = threading.Event()

    def ask() -> None:
        nonlocal asked
        while not ending.is_set():
            lock_owner(tmp_path)
            asked += 1

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(200):
            with RunLock(tmp_path):
                pass
    finally:
        ending.set()
        asker.join()
    assert asked > 0
