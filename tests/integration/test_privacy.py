"""What mailhaul writes is nobody else's business: modes of all that it makes, whatever the umask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailhaul.tests.integration.command import Mailhaul

from ..maildirs import Maildir

MAILHAUL = str(Path(sys.executable).with_name("mailhaul"))
PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    box = Maildir(tmp_path / "mail" / "jane" / "Maildir")
    box.message("1.M1P1.host:2,S")
    return tmp_path / "mail"


def open_to_others(place: Path) -> dict[str, str]:
    """What others can get at, with its mode: what is below a directory that they can't enter is not."""
    found = {}
    for path in sorted(place.iterdir()):
        mode = path.lstat().st_mode
        if mode & 0o077:
            found[path.name] = oct(mode & 0o777)
            if path.is_dir():
                found |= {f"{path.name}/{name}": mode for name, mode in open_to_others(path).items()}
    return found


def test_a_staging_area_is_closed_to_others(mailhaul: Mailhaul, store: Path) -> None:
    staging = mailhaul.place / "a" / "b"
    log = mailhaul.place / "mailhaul.log"
    options = ("--store", f"maildir:{store}", "--staging", staging, "--log", log)
    mailhaul.run(None, "backup", *options)
    mailhaul.run(None, "hold", "/primary/user/jane", "--staging", staging)
    mailhaul.run(None, "backup", *options)
    assert open_to_others(mailhaul.place) == {}
    made = [path for path in (staging / ".mailhaul").iterdir() if path.is_file()]
    assert {"catalog.sqlite", "holds.json", "lock", "status.json"} <= {path.name for path in made}
    assert {oct(path.stat().st_mode & 0o777) for path in (*made, log)} == {oct(0o600)}


def test_a_directory_of_an_earlier_version_is_closed(mailhaul: Mailhaul, store: Path) -> None:
    staging = mailhaul.place / "staging"
    (staging / ".mailhaul").mkdir(parents=True, mode=0o755)
    mailhaul.run(None, "backup", "--store", f"maildir:{store}", "--staging", staging)
    assert (staging / ".mailhaul").stat().st_mode & 0o777 == 0o700


SLOW = """
[staging]
path = "staging"
[[partition]]
format = "maildir"
path = "{store}"
[load]
messages_per_second = 1
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory of temporary files with a name that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="mh-") as place:
        yield Path(place)


def test_a_killed_backup_leaves_no_temporary_files_for_good(
    tmp_path: Path, temporary: Path, store: Path
) -> None:
    box = Maildir(store / "jane" / "Maildir")
    for number in range(2, 20):
        box.message(f"{number}.M1P1.host:2,S")
    (tmp_path / "mailhaul.toml").write_text(SLOW.format(store=store))
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([MAILHAUL, "backup"], cwd=tmp_path, env=environment) as run:
        until = time.monotonic() + PATIENCE_SECONDS
        while not any(path.is_socket() for path in temporary.rglob("*")):
            assert run.poll() is None
            assert time.monotonic() < until
        run.send_signal(signal.SIGKILL)
    (left,) = temporary.iterdir()
    assert any(one.is_socket() for one in left.rglob("*"))
    os.utime(left, (0, 0))
    status = subprocess.run(
        [MAILHAUL, "status"], cwd=tmp_path, env=environment, timeout=PATIENCE_SECONDS, check=False
    )
    assert status.returncode == 0
    assert list(temporary.iterdir()) == []
