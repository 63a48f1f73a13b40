"""A directory of messages that takes the place of another, in which others go on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailhaul.worker.stores import directory_exchange
from mailhaul.worker.stores.directory_exchange import take_late, take_over
from mailhaul.worker.stores.file_writer import FileWriter
from mailhaul.worker.stores.notices import Notices
from mailhaul.worker.stores.renaming import exchange


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_exchange, "LEAST", 3)
    monkeypatch.setattr(directory_exchange, "_LATE_SECONDS", 0)


def make(path: Path, *names: str) -> Path:
    (path / "cur").mkdir(parents=True)
    for name in names:
        (path / "cur" / name).write_text(name)
    return path


@contextmanager
def opened(*paths: Path) -> Iterator[list[int]]:
    fds = [os.open(path, os.O_RDONLY) for path in paths]
    yield fds
    for fd in fds:
        os.close(fd)


def test_all_that_was_in_either(tmp_path: Path) -> None:
    stage, folder = make(tmp_path / "stage", "1", "2", "3"), make(tmp_path / "folder", "7", "8")
    (folder / "cur").chmod(0o2750)
    number = (folder / "cur" / "7").stat().st_ino
    with opened(stage, folder) as (one, other):
        taken = take_over(one, other, b"cur", FileWriter(Notices()))
        assert taken == frozenset((b"7", b"8"))
        assert sorted(os.listdir(folder / "cur")) == ["1", "2", "3", "7", "8"]
        assert (folder / "cur" / "7").stat().st_ino == number
        assert (folder / "cur").stat().st_mode & 0o7777 == 0o2750
        # Somebody had found the old directory; another has removed a message from the new one.
        (stage / "cur" / "9").write_text("late")
        (folder / "cur" / "8").unlink()
        take_late(one, other, b"cur", taken)
    assert sorted(os.listdir(folder / "cur")) == ["1", "2", "3", "7", "9"]


def test_what_others_do_at_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, folder = make(tmp_path / "stage", "1", "2", "3"), make(tmp_path / "folder", "7:2,", "8:2,")

    def late(one: int, name: bytes, other: int, other_name: bytes) -> bool:
        (folder / "cur" / "7:2,").rename(folder / "cur" / "7:2,S")
        (folder / "cur" / "8:2,").unlink()
        (folder / "cur" / "9:2,").write_text("new")
        return exchange(one, name, other, other_name)

    monkeypatch.setattr(directory_exchange, "exchange", late)
    with opened(stage, folder) as (one, other):
        assert take_over(one, other, b"cur", FileWriter(Notices())) == frozenset((b"7:2,S", b"9:2,"))
    assert sorted(os.listdir(folder / "cur")) == ["1", "2", "3", "7:2,S", "9:2,"]


def test_where_it_is_not_worth_it_or_can_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = make(tmp_path / "few", "1", "2"), make(tmp_path / "many", "1", "2", "3")
    folder, full = make(tmp_path / "folder", "7"), make(tmp_path / "full", "5", "6", "7", "8")
    with opened(few, many, folder, full) as (some, more, other, larger):
        files = FileWriter(Notices())
        assert take_over(some, other, b"cur", files) is None
        assert take_over(more, larger, b"cur", files) is None
        monkeypatch.setattr(directory_exchange, "exchange", lambda *_: False)
        assert take_over(more, other, b"cur", files) is None
    assert os.listdir(folder / "cur") == ["7"]
    assert sorted(os.listdir(full / "cur")) == ["5", "6", "7", "8"]
