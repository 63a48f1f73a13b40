"""A checkout of this repository as its users have it: built, installed, run by the system's interpreter.

An editable checkout costs each start some 40 ms more, and an interpreter that was built apart (without the
profile of a run, as pyenv does it) a seventh more CPU seconds; neither is what a mail host has.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SYSTEM = Path("/usr/bin/python3")
_OLDEST = (3, 11)


def interpreter() -> Path:
    """The system's Python, or the present one where that is too old, or can't make virtual environments."""
    asks = f"import sys, ensurepip, venv; sys.exit(sys.version_info < {_OLDEST})"
    try:
        done = subprocess.run([SYSTEM, "-c", asks], capture_output=True, timeout=60, check=False)
    except OSError:
        return Path(sys.executable)
    return SYSTEM if done.returncode == 0 else Path(sys.executable)


def install(checkout: Path, place: Path, *, pure: bool = False) -> Path:
    """Build and install what is in a checkout (also what is not committed) below ``place``; ``pure``: without
    what is compiled of it. Returns the program. Raises CalledProcessError."""
    environment, source = place / "venv", place / "source"
    shutil.rmtree(source, ignore_errors=True)
    # A build leaves files beside its source, which the next one would take for a part of it.
    listing = ["git", "-C", str(checkout), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (checkout / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, source / name)
    if not environment.exists():
        subprocess.run([interpreter(), "-m", "venv", environment], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, str(source)], check=True)
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(source)], check=True)
    shutil.rmtree(source)
    if pure:
        for extension in environment.glob("lib/python*/site-packages/mailhaul/**/*.so"):
            extension.unlink()
    return environment / "bin" / "mailhaul"
