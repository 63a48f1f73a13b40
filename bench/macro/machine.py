"""What the figures of a run depend on: the machine, the interpreter, the state of the repository."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from .stores import ROOT


def machine(python: Path) -> dict[str, object]:
    """What the figures depend on, with the interpreter that ran what was measured. No host name, no paths."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return {
        "cpu": cpu.partition(":")[2].strip() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": described(python),
        "load_before": round(os.getloadavg()[0], 2),
    }


def described(python: Path) -> str:
    """An interpreter in words."""
    asks = "import platform, sys; print(platform.python_version(), sys.base_prefix == '/usr')"
    told = subprocess.run([python, "-c", asks], capture_output=True, text=True, check=True)
    release, of_the_system = told.stdout.split()
    return f"{release}, {'of the system' if of_the_system == 'True' else 'built apart'}"


def commit(checkout: Path = ROOT) -> str:
    """Short id of the commit, with ``+`` after it when files differ; ``none`` outside a git checkout."""
    git = ["git", "-C", str(checkout)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
