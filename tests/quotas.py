"""A directory with a quota that the kernel itself holds: a subvolume of btrfs in an image that is mounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import IN_CI

_SECONDS = 60


@dataclass(frozen=True, slots=True)
class LimitedDirectory:
    """``limit`` sets how much fits into the directory at ``path``, as ``btrfs qgroup limit`` takes it
    (``none``: no limit)."""

    path: Path
    limit: Callable[[str], None]


@contextmanager
def limited_directory(
    above: Path, size: str, require_tool: Callable[[str], Path], name: str = "limited"
) -> Iterator[LimitedDirectory]:
    """A directory into which so much fits, on a file system of its own with more room; mounted below
    ``above``, and gone at the end. Skips where that can't be made, which is a failure in CI."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    btrfs, make = require_tool("btrfs"), require_tool("mkfs.btrfs")
    image, mount = above / "btrfs.img", above / "btrfs"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(128 << 20)
    _call(make, "-q", image)
    try:
        _call("mount", "-o", "loop", image, mount)
    except subprocess.CalledProcessError as error:
        reason = f"no btrfs can be mounted here: {error.stderr.strip()}"
        _ = pytest.fail(reason) if IN_CI else pytest.skip(reason)
    try:
        limited = mount / name
        _call(btrfs, "quota", "enable", mount)
        _call(btrfs, "subvolume", "create", limited)
        found = LimitedDirectory(limited, lambda size: _call(btrfs, "qgroup", "limit", size, limited))
        found.limit(size)
        yield found
    finally:
        _call("umount", mount)  # the loop device goes with it
        image.unlink()


def _call(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=_SECONDS)
