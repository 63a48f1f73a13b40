"""Which file system is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mailhaul.proto.errors import TargetFullError
from mailhaul.worker.stores.directories import refused
from mailhaul.worker.stores.file_systems import full_file_system


@pytest.mark.parametrize(
    ("number", "says", "facts"),
    [
        (
            errno.ENOSPC,
            "no room on the file system at ",
            {"errno", "file_system", "free_bytes", "free_inodes"},
        ),
        # What is free on the file system says nothing about what is left of a quota.
        (errno.EDQUOT, "a quota is used up on the file system at ", {"errno", "file_system"}),
    ],
)
def test_what_is_used_up_is_named(tmp_path: Path, number: int, says: str, facts: set[str]) -> None:
    error = refused(OSError(number, os.strerror(number)), "anna/cur")
    assert isinstance(error, TargetFullError)
    named = full_file_system(error, [os.fsencode(tmp_path / "anna"), os.fsencode(tmp_path / "control")])
    mount = tmp_path
    while not mount.is_mount():
        mount = mount.parent
    assert named.message.startswith(f"{says}{mount}: anna/cur: {os.strerror(number)}")
    assert named.facts.keys() == facts
    assert (named.facts["errno"], named.facts["file_system"]) == (number, str(mount))
