"""The record of mailboxes that are restored without being kept as they were."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mailhaul.proto.errors import StagingError
from mailhaul.worker.unkept import SUFFIX, Unkept, note_unkept, read_unkept

UNKEPT = Unkept("primary", {"jane": "no room", "j\udcf6rg": "it could not be read"})


def test_what_was_noted_is_read(tmp_path: Path) -> None:
    note_unkept(tmp_path / "before", UNKEPT)
    path = tmp_path / f"before{SUFFIX}"
    assert read_unkept(path) == UNKEPT
    for size in range(path.stat().st_size):  # cut by a crash
        cut = tmp_path / "cut"
        cut.write_bytes(path.read_bytes()[:size])
        assert read_unkept(cut) is None
    with pytest.raises(FileNotFoundError):
        read_unkept(tmp_path / "none")


def test_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "later"
    path.write_text('{"version": 2}')
    with pytest.raises(StagingError, match="another version"):
        read_unkept(path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_without_room_the_file_stands_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refuse_writing(monkeypatch, code)
    note_unkept(tmp_path / "before", UNKEPT)
    assert read_unkept(tmp_path / f"before{SUFFIX}") is None


def test_what_can_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_writing(monkeypatch, errno.EIO)
    with pytest.raises(StagingError):
        note_unkept(tmp_path / "before", UNKEPT)


def refuse_writing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
