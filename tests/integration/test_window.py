"""A backup window: what is begun outside of it waits, and says so; --now does not."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

MAILHAUL = str(Path(sys.executable).with_name("mailhaul"))
PATIENCE_SECONDS = 60.0
CONFIG = """
[staging]
path = "staging"
reserve = "1 MB"
[[partition]]
format = "maildir"
path = {path}
[dispatch]
workers_per_host = 1
window = "{window}"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with one message, and a window that opens in twelve hours, for a minute."""
    for name in ("cur", "new", "tmp"):
        (tmp_path / "mail" / "jane" / name).mkdir(parents=True)
    (tmp_path / "mail" / "jane" / "cur" / "1.M1P1.host:2,S").write_bytes(b"Subject: one\n\ntext\n")
    configure(tmp_path, time.time() + 12 * 3600)
    return tmp_path


def configure(place: Path, opens: float) -> None:
    start, end = (time.strftime("%H:%M", time.localtime(at)) for at in (opens, opens + 120))
    text = CONFIG.format(path=json.dumps(str(place / "mail")), window=f"{start}-{end}")
    (place / "mailhaul.toml").write_text(text)


def status(place: Path) -> str:
    command = [MAILHAUL, "status"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def eventually(look: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert run.poll() is None, "the run has ended"
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:g} s"
        time.sleep(0.1)


def test_a_run_outside_of_its_window_waits(place: Path) -> None:
    log = place / "told"
    with log.open("wb") as told, subprocess.Popen([MAILHAUL, "backup"], cwd=place, stderr=told) as run:
        try:
            eventually(lambda: "outside of the window" in log.read_text(), run)
            eventually(lambda: "it waits: outside of the window" in status(place), run)
            assert not list((place / "staging").rglob("*.mha*"))
        finally:
            run.terminate()
    assert run.returncode == 143
    resumed = subprocess.run(
        [MAILHAUL, "backup", "--resume", "latest", "--now", "--json"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert json.loads(resumed.stdout)["messages"] == 1


def test_a_run_within_its_window_begins(place: Path) -> None:
    configure(place, time.time())
    done = subprocess.run(
        [MAILHAUL, "backup"], cwd=place, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert "window" not in done.stderr
    assert len(list((place / "staging").rglob("*.mha"))) == 1


def test_a_run_into_a_file_waits_for_its_window_too(place: Path) -> None:
    log, file = place / "told", place / "mail.mha"
    command: list[str | Path] = [MAILHAUL, "backup", "-f", file]
    with log.open("wb") as told, subprocess.Popen(command, cwd=place, stderr=told) as run:
        try:
            eventually(lambda: "outside of the window" in log.read_text(), run)
            assert not file.exists()
        finally:
            run.terminate()
    done = subprocess.run(
        [*command, "--now", "--json"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert json.loads(done.stdout)["messages"] == 1
    restore: list[str | Path] = [
        MAILHAUL,
        "restore",
        "/",
        "-f",
        file,
        "--to",
        f"maildir:{place / 'restored'}",
    ]
    subprocess.run(restore, cwd=place, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    (restored,) = (place / "restored").rglob("1.M1P1.host*")
    assert restored.read_bytes() == b"Subject: one\n\ntext\n"
