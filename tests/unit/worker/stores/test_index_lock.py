"""The lock of Dovecot's log: others wait for it, a log that was exchanged meanwhile is not taken for it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailhaul.proto.errors import LockedError
from mailhaul.worker.stores import index_lock
from mailhaul.worker.stores.dotlock import uidlist_lock
from mailhaul.worker.stores.dovecot_index import LOG
from mailhaul.worker.stores.index_lock import folder_unused, index_unused

TRY = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    try:
        getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(7)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def is_locked(log: Path, how: str) -> bool:
    return subprocess.run([sys.executable, "-c", TRY, log, how], check=False, timeout=60).returncode == 7


def test_others_wait_either_way(directory: int, tmp_path: Path) -> None:
    log = tmp_path / os.fsdecode(LOG)
    log.touch()
    with index_unused(directory):
        assert is_locked(log, "lockf")
        assert is_locked(log, "flock")
        log.unlink()  # what it is for
    log.touch()
    assert not is_locked(log, "lockf")


def test_without_a_log(directory: int, tmp_path: Path) -> None:
    with index_unused(directory):
        assert list(tmp_path.iterdir()) == []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / os.fsdecode(LOG)).symlink_to(elsewhere)
    with index_unused(directory):
        assert not is_locked(elsewhere, "lockf")


def test_who_has_it_is_not_waited_for_without_end(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_lock, "_PATIENCE_SECONDS", 0.05)
    with (tmp_path / os.fsdecode(LOG)).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with index_unused(directory):
            assert not is_locked(tmp_path / os.fsdecode(LOG), "lockf")


def test_another_log_by_then(directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, turns = tmp_path / os.fsdecode(LOG), iter([True])
    log.touch()
    lockf = fcntl.lockf

    def exchanged(fd: int, operation: int) -> None:
        if next(turns, False):
            log.unlink()
            log.touch()
        lockf(fd, operation)

    monkeypatch.setattr(fcntl, "lockf", exchanged)
    with index_unused(directory):
        assert is_locked(log, "flock")


def test_both_locks_whichever_the_server_takes_first(directory: int, tmp_path: Path) -> None:
    """A delivery has the list locked when it wants the log: it gets that while we wait for the list."""
    log = tmp_path / os.fsdecode(LOG)
    log.touch()
    delivered = threading.Event()

    def deliver() -> None:
        with uidlist_lock(directory):
            listed.set()
            while is_locked(log, "lockf"):
                pass
        delivered.set()

    listed = threading.Event()
    server = threading.Thread(target=deliver)
    with index_unused(directory):
        server.start()
        assert listed.wait(60)
    with folder_unused(directory, directory):
        assert delivered.is_set()
        assert is_locked(log, "lockf")
    server.join()


def test_a_server_that_does_not_let_go_of_the_list(directory: int, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(LOG)).touch()
    with (
        uidlist_lock(directory),
        pytest.raises(LockedError, match="server holds"),
        folder_unused(directory, directory, 0.1),
    ):
        raise AssertionError("it is held")
    assert not is_locked(tmp_path / os.fsdecode(LOG), "lockf")
