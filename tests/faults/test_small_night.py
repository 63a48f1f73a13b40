"""A night that the program does itself, ended in the middle of its only unit: what comes after goes on, and
all mail comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = """\
[staging]
path = "staging"
same_device = true

[[partition]]
format = "maildir"
path = "ROOT/mail/{user}"

[load]
bytes_per_second = "2 MB"
"""
_PATIENCE_SECONDS = 60
_MESSAGES = 20


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A message of each is backed up, and 4 MB are new: at this rate two seconds."""
    (tmp_path / "mailhaul.toml").write_text(CONFIG.replace("ROOT", str(tmp_path)))
    for user in ("anna", "bert"):
        for sub in ("cur", "new", "tmp"):
            (tmp_path / "mail" / user / sub).mkdir(parents=True)
        deliver(tmp_path, user, 0, b"the first")
    assert mailhaul(tmp_path, "backup") == 0
    for number in range(1, _MESSAGES):
        deliver(tmp_path, "anna" if number % 3 else "bert", number, os.urandom(200_000))
    return tmp_path


def deliver(site: Path, user: str, number: int, body: bytes) -> None:
    content = b"Subject: %d\n\n%s\n" % (number, body.replace(b"\r", b""))
    (site / "mail" / user / "cur" / f"{number}.M1P1.host:2,S").write_bytes(content)


def start(site: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "mailhaul", "--config", str(site / "mailhaul.toml"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def mailhaul(site: Path, *arguments: str) -> int:
    return start(site, *arguments).wait(_PATIENCE_SECONDS)


def partials(site: Path) -> list[Path]:
    return [path for path in (site / "staging").rglob("*.partial") if path.stat().st_size > 500_000]


def contents(root: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in root.glob("**/cur/*"))


@pytest.mark.parametrize(
    ("number", "next_night"),
    [
        (signal.SIGKILL, ["backup", "--resume", "latest"]),
        (signal.SIGTERM, ["backup", "--resume", "latest"]),
        (signal.SIGINT, ["backup"]),
    ],
)
def test_a_small_night_is_ended(site: Path, number: signal.Signals, next_night: list[str]) -> None:
    run = start(site, "backup")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not partials(site):
        assert time.monotonic() < deadline
        assert run.poll() is None, "it had ended before it could be ended"
        time.sleep(0.02)
    run.send_signal(number)
    ended = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
    assert run.wait(_PATIENCE_SECONDS) == ended[number]
    assert partials(site), "what was written stays"

    config = site / "mailhaul.toml"
    config.write_text(config.read_text().partition("[load]")[0])
    assert mailhaul(site, *next_night) == 0
    assert not list((site / "staging").rglob("*.partial"))
    assert mailhaul(site, "restore", "/", "--to", f"maildir:{site / 'back'}") == 0
    assert contents(site / "back") == contents(site / "mail")
    assert len(contents(site / "back")) == _MESSAGES + 1
