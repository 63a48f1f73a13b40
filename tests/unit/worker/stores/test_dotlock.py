"""The lock that a Dovecot and a restore share."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailhaul.proto.errors import LockedError
from mailhaul.worker.stores.dotlock import uidlist_lock


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "dovecot-uidlist.lock"


def test_taken_and_given_back(folder: int, lock: Path) -> None:
    with uidlist_lock(folder, 0):
        assert lock.read_text() == f"{os.getpid()}:{socket.gethostname()}"
        with pytest.raises(LockedError), uidlist_lock(folder, 0.1):
            pass
        assert lock.exists()
    assert not lock.exists()
    with pytest.raises(ZeroDivisionError), uidlist_lock(folder, 0):
        raise ZeroDivisionError
    assert not lock.exists()


@pytest.mark.parametrize(
    "content", ["", "1:otherhost", "nonsense", f"1:{socket.gethostname()}", "9999999999:x"]
)
def test_a_lock_that_may_be_held_is_respected(folder: int, lock: Path, content: str) -> None:
    lock.write_text(content)
    with pytest.raises(LockedError), uidlist_lock(folder, 0):
        pass
    assert lock.read_text() == content


def test_a_lock_of_a_process_that_ended_is_overridden(folder: int, lock: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=60)
    lock.write_text(f"{ended.pid}:{socket.gethostname()}")
    with uidlist_lock(folder, 0):
        assert lock.read_text().startswith(f"{os.getpid()}:")


def test_a_lock_that_is_two_minutes_old_is_overridden(folder: int, lock: Path) -> None:
    lock.write_text("1:otherhost")
    old = lock.stat().st_mtime - 121
    os.utime(lock, (old, old))
    with uidlist_lock(folder, 0):
        assert lock.read_text().startswith(f"{os.getpid()}:")


def test_a_link_in_its_place_is_not_followed(folder: int, lock: Path, tmp_path: Path) -> None:
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), uidlist_lock(folder, 0):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("nameless", [True, False])
def test_it_is_never_there_without_its_holder(
    folder: int, lock: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    """Also where there is no room for that; and on file systems that know no files without a name."""
    opened = os.open

    def open_named(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return opened(path, flags, *rest, **more)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if not nameless:
        monkeypatch.setattr(os, "open", open_named)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"), uidlist_lock(folder):
            pass
    assert not lock.exists()
    with uidlist_lock(folder):
        assert lock.read_text().startswith(f"{os.getpid()}:")
    assert not lock.exists()
