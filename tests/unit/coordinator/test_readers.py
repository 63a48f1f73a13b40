"""Readers do not hinder each other; who deletes waits for them, and they for it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mailhaul.coordinator import readers
from mailhaul.coordinator.readers import exclusive, reading
from mailhaul.proto.errors import LockedError, StagingError


def test_a_deletion_waits_for_readers_and_gives_up(tmp_path: Path) -> None:
    told: list[str] = []
    with reading(tmp_path), reading(tmp_path), pytest.raises(LockedError, match="being read"):
        with exclusive(tmp_path, 0.1, told.append):
            raise AssertionError
    assert told == ["archives are being read"]
    with exclusive(tmp_path, 0.0, told.append):
        pass
    assert len(told) == 1


def test_a_reader_waits_for_a_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def read() -> None:
        with reading(tmp_path):
            order.append("read")

    reader = threading.Thread(target=read)
    with exclusive(tmp_path):
        reader.start()
        reader.join(0.2)
        order.append("deleted")
    reader.join(10)
    assert order == ["deleted", "read"]

    monkeypatch.setattr(readers, "_READER_PATIENCE_SECONDS", 0.1)
    with exclusive(tmp_path), pytest.raises(LockedError, match="being deleted"), reading(tmp_path):
        raise AssertionError


def test_an_error_ends_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), reading(tmp_path):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path, 0.0):
        raise ZeroDivisionError
    with exclusive(tmp_path, 0.0):
        pass


def test_where_nothing_can_be_written_reading_goes_on(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").write_text("no directory")  # as root, modes keep nobody out
    with reading(tmp_path):
        pass
    with pytest.raises(StagingError, match=r"readers\.lock"), exclusive(tmp_path):
        raise AssertionError


def test_a_link_in_the_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").mkdir()
    (tmp_path / "elsewhere").touch()
    os.symlink(tmp_path / "elsewhere", tmp_path / ".mailhaul" / "readers.lock")
    with pytest.raises(StagingError), reading(tmp_path):
        raise AssertionError
