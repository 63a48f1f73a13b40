"""Where drills restore: private, removed, also what a killed drill has left, and never fuller than it may
be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.drills.scratch import Scratch
from mailhaul.proto.errors import ConfigError


def test_a_directory_is_private_and_goes(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", reserve_bytes=0)
    with scratch.directory() as place:
        assert place.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "scratch").stat().st_mode & 0o777 == 0o711
        box = place / "proof" / "Maildir" / "cur"
        box.mkdir(parents=True)
        (box / "1").write_bytes(b"private")
        (place / "elsewhere").symlink_to(tmp_path)
        box.chmod(0o500)
    assert list((tmp_path / "scratch").iterdir()) == []
    with pytest.raises(ZeroDivisionError), scratch.directory() as place:
        raise ZeroDivisionError
    assert not place.exists()


def test_what_a_killed_drill_has_left_goes_and_what_another_uses_stays(tmp_path: Path) -> None:
    root = tmp_path / "scratch"
    with Scratch(root, 0).directory() as used:
        left = root / "mailhaul-drill.left"
        (left / "mail").mkdir(parents=True)
        (root / "drill.of somebody else").mkdir()
        assert Scratch(root, 0).left_behind == 1
        assert not left.exists()
        assert used.exists()
    assert [path.name for path in root.iterdir()] == ["drill.of somebody else"]


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir(mode=0o755)
    (tmp_path / "scratch").chmod(0o755)
    Scratch(tmp_path / "scratch", 0)
    assert (tmp_path / "scratch").stat().st_mode & 0o777 == 0o755


def test_room_is_what_the_reserve_leaves(tmp_path: Path) -> None:
    free = Scratch(tmp_path / "scratch", 0).room_bytes()
    assert Scratch(tmp_path / "scratch", 1 << 60).room_bytes() < 0 < free


def test_a_directory_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="expected a directory of the user"):
        Scratch(tmp_path / "link", 0)
    (tmp_path / "real").chmod(0o777)
    with pytest.raises(ConfigError, match="others may write"):
        Scratch(tmp_path / "real", 0)
    if os.geteuid() == 0:
        (tmp_path / "real").chmod(0o700)
        os.chown(tmp_path / "real", 12345, 12345)
        with pytest.raises(ConfigError, match="expected a directory of the user"):
            Scratch(tmp_path / "real", 0)


def test_who_is_stopped_while_mail_is_removed_removes_it_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = [KeyboardInterrupt]
    rmtree = shutil.rmtree

    def stopped(*arguments: Any, **more: Any) -> None:
        if stops:
            raise stops.pop()
        rmtree(*arguments, **more)

    monkeypatch.setattr(shutil, "rmtree", stopped)
    with pytest.raises(KeyboardInterrupt), Scratch(tmp_path / "scratch", 0).directory() as place:
        (place / "mail").mkdir()
    assert stops == []
    assert list((tmp_path / "scratch").iterdir()) == []
