"""The room of a staging area: a reserve, and writers that wait for room."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from mailhaul.proto.errors import StagingError
from mailhaul.worker.staging.space import FULL, Space

BLOCK = 4096
MIB = 1 << 20


class Disk:
    """A file system, and time, as a test sets them. Each second that is slept frees ``freed_bytes``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.freed_bytes = 0
        self.now = 100.0
        self.asked = 0
        monkeypatch.setattr(os, "statvfs", self._statvfs)

    def space(self, reserve_bytes: int = 0) -> Space:
        return Space(Path("/staging"), reserve_bytes, clock=lambda: self.now, sleep=self._sleep)

    def _statvfs(self, path: object) -> SimpleNamespace:
        self.asked += 1
        return SimpleNamespace(
            f_bavail=self.free_bytes // BLOCK, f_blocks=1000 * MIB // BLOCK, f_frsize=BLOCK
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.free_bytes += int(seconds * self.freed_bytes)


def test_the_reserve_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 10 * MIB)
    space = disk.space(reserve_bytes=8 * MIB)
    assert space.room_for(2 * MIB)
    disk.free_bytes -= 2 * MIB
    assert not space.room_for(1)
    assert not disk.space(reserve_bytes=8 * MIB).room_for(1)
    assert disk.space().room_for(8 * MIB)


def test_never_more_is_taken_than_there_is_however_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 100 * MIB)
    space = disk.space(reserve_bytes=10 * MIB)
    taken = 0
    while space.room_for(MIB // 4):
        taken += MIB // 4
        disk.free_bytes -= MIB // 4
        disk.now += 0.001
    assert taken == 90 * MIB


def test_it_is_cheap_while_there_is_plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 1000 * MIB)
    space = disk.space()
    for _ in range(1024):
        assert space.room_for(16 << 10)
    assert disk.asked <= 2


def test_what_others_write_is_seen_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 1000 * MIB)
    space = disk.space(reserve_bytes=MIB)
    assert space.room_for(1)
    disk.free_bytes = 0
    disk.now += 0.6
    assert not space.room_for(1)


def test_a_quota_that_only_the_write_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 1000 * MIB)
    space = disk.space()
    assert space.room_for(1)
    space.ran_out(errno.EDQUOT)
    assert not space.room_for(1)
    with pytest.raises(StagingError, match="Disk quota exceeded") as caught:
        space.wait_for(1, 0.0, lambda _: None)
    assert caught.value.facts["errno"] == errno.EDQUOT
    disk.now += 1.1
    assert space.room_for(1)
    disk.free_bytes = 0
    disk.now += 1.1
    with pytest.raises(StagingError, match="No space left"):
        space.wait_for(1, 0.0, lambda _: None)


def test_waiting_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 0)
    disk.freed_bytes = MIB
    told: list[str] = []
    disk.space().wait_for(3 * MIB, 60.0, told.append)
    assert told == [FULL, FULL, FULL, ""]
    assert disk.now == pytest.approx(103.0)
    disk.space().wait_for(MIB, 60.0, told.append)
    assert len(told) == 4


@pytest.mark.parametrize("patience", [0.0, 2.5])
def test_patience_ends(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    disk = Disk(monkeypatch, 0)
    told: list[str] = []
    with pytest.raises(StagingError, match="No space left") as caught:
        disk.space().wait_for(1, patience, told.append)
    assert caught.value.facts["errno"] == errno.ENOSPC
    assert caught.value.retryable
    assert disk.now == pytest.approx(100.0 + patience)
    assert told == ([FULL, FULL, FULL, ""] if patience else [])


def test_a_file_system_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(StagingError) as caught:
        Space(tmp_path / "gone").room_for(1)
    assert caught.value.facts["errno"] == errno.ENOENT


def test_what_the_file_system_says(tmp_path: Path) -> None:
    room = Space(tmp_path, reserve_bytes=1 << 60).room()
    assert 0 < room.free_bytes <= room.total_bytes
    assert room.available_bytes == 0
