"""The ready manifests of a staging area, as a program checks them that knows nothing else of it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def check_manifests(staging: Path) -> dict[str, list[str]]:
    """What the manifest of each run names; ``sha256sum`` must find all of it as it says."""
    named = {}
    for manifest in sorted(staging.glob("_ready/*")):
        if manifest.suffix != ".sha256":  # a crash leaves what was being written
            continue
        command = ["sha256sum", "--check", "--strict", "--quiet", str(manifest.relative_to(staging))]
        done = subprocess.run(command, cwd=staging, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), manifest
        lines = manifest.read_text().splitlines()
        named[manifest.stem] = [line[66:] for line in lines if not line.startswith("#")]
    return named
