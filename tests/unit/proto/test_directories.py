"""New directories are durable: the names of all that were missing are synced, each in the one above it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailhaul.proto.directories import make_directories


def test_the_parents_of_what_is_new_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    make_directories(tmp_path / "spool" / "mailhaul")
    assert synced == [str(tmp_path), str(tmp_path / "spool")]
    make_directories(tmp_path / "spool" / "mailhaul")
    assert len(synced) == 2
