"""Rights are tried by writing, and nothing of that stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailhaul.proto.records import Ownership
from mailhaul.worker.looking.trial import try_writing

MINE = Ownership(0o600, os.geteuid(), os.getegid())


def test_what_can_be_written(tmp_path: Path) -> None:
    for owner, told in ((None, None), (MINE, "")):
        trial = try_writing("here", os.fsencode(tmp_path), owner)
        assert (trial.host, trial.path, trial.error, trial.owner) == ("here", str(tmp_path), "", told)
    assert list(tmp_path.iterdir()) == []


def test_what_can_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert try_writing("here", os.fsencode(tmp_path / "no"), MINE).error == "No such file or directory"

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    trial = try_writing("here", os.fsencode(tmp_path), Ownership(0o600, 4711, 4712))
    assert (trial.error, trial.owner) == ("", "Operation not permitted (to user 4711, group 4712)")
    monkeypatch.setattr(os, "fsync", refused)
    assert try_writing("here", os.fsencode(tmp_path), MINE).error == "Operation not permitted"
    assert list(tmp_path.iterdir()) == []
