"""Temporary files lie in a directory of the process, and none is left, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

USES = """\
import signal, sys, tempfile
from mailhaul.coordinator.cli.scratch import scratch_directory
before = tempfile.gettempdir()
with scratch_directory():
    pass
assert tempfile.gettempdir() == before
with scratch_directory():
    print(tempfile.mkstemp()[1], flush=True)
if "wait" in sys.argv:
    signal.pause()
"""
LONG_AGO = (1_000_000_000.0, 1_000_000_000.0)


def start(place: Path, *words: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that has made a temporary file, and that file."""
    command = [sys.executable, "-P", "-c", USES, *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(place)}
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=30)


def test_nothing_is_left(tmp_path: Path) -> None:
    process, file = start(tmp_path)
    assert file.parent.parent == tmp_path
    end(process)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed, file = start(tmp_path, "wait")
    assert file.parent.stat().st_mode & 0o777 == 0o700
    killed.send_signal(signal.SIGKILL)
    end(killed)
    assert file.exists()
    os.utime(file.parent, LONG_AGO)
    end(start(tmp_path)[0])
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_uses_stays(tmp_path: Path) -> None:
    living, file = start(tmp_path, "wait")
    try:
        os.utime(file.parent, LONG_AGO)
        end(start(tmp_path)[0])
        assert file.exists()
    finally:
        living.kill()
        end(living)


@pytest.mark.parametrize("kind", ["young", "file", "link", "other name"])
def test_nothing_else_is_touched(tmp_path: Path, kind: str) -> None:
    other = tmp_path / ("mailhaul-0" if kind == "other name" else "mailhaul.abcdefgh")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    match kind:
        case "file":
            other.touch()
        case "link":
            other.symlink_to(elsewhere)
        case _:
            other.mkdir()
    if kind != "young":
        os.utime(other, LONG_AGO, follow_symlinks=False)
    end(start(tmp_path)[0])
    assert (other.is_symlink() or other.exists(), (elsewhere / "kept").exists()) == (True, True)


def test_without_a_place_for_temporary_files_commands_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", USES.replace("print(", "0 and print("), "x"]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(tmp_path / "none")}, timeout=30, check=False
    )
    assert done.returncode == 0
