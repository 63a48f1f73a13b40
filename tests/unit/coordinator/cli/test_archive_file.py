"""The file that ``backup -f`` writes: whole under its name, or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailhaul.coordinator.cli.archive_file import archive_stream
from mailhaul.proto.errors import LockedError, StagingError, UsageError


def test_the_name_comes_last(tmp_path: Path) -> None:
    file = tmp_path / "mail.mha"
    with archive_stream(str(file)) as stream:
        stream.write(b"all")
        assert not file.exists()
    assert file.read_bytes() == b"all"
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["mail.mha"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with archive_stream(str(tmp_path / "mail.mha")) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "mail.mha"
    file.write_bytes(b"old")
    with pytest.raises(UsageError, match="never overwritten"), archive_stream(str(file)):
        pytest.fail("not reached")
    file.unlink()

    def overtaken() -> None:
        with archive_stream(str(file)) as stream:
            stream.write(b"new")
            file.write_bytes(b"somebody else's")

    with pytest.raises(UsageError):
        overtaken()
    assert file.read_bytes() == b"somebody else's"
    assert os.listdir(tmp_path) == ["mail.mha"]


def test_what_a_backup_that_died_has_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mail.mha.partial").write_bytes(b"long ago, and longer")
    with archive_stream(str(tmp_path / "mail.mha")) as stream:
        stream.write(b"new")
    assert (tmp_path / "mail.mha").read_bytes() == b"new"


def test_one_backup_at_a_time(tmp_path: Path) -> None:
    file = str(tmp_path / "mail.mha")
    with archive_stream(file) as stream:
        stream.write(b"first")
        with pytest.raises(LockedError), archive_stream(file):
            pytest.fail("not reached")
    assert (tmp_path / "mail.mha").read_bytes() == b"first"


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(StagingError, match="can't create"), archive_stream(str(tmp_path / "no" / "mail.mha")):
        pytest.fail("not reached")
    with pytest.raises(StagingError, match="can't finish"), archive_stream(str(tmp_path / "mail.mha")):
        (tmp_path / "mail.mha.partial").unlink()


def test_no_archive_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="terminal"), archive_stream("-"):
        pytest.fail("not reached")
