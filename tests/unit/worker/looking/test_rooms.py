"""Mailboxes are added up by the file system that they come to lie on."""

from __future__ import annotations

import os
from pathlib import Path

from mailhaul.coordinator.prospect import _rooms
from mailhaul.proto.target_facts import FileSystemRoom
from mailhaul.worker.looking.rooms import Rooms, nearest


def test_mailboxes_of_one_file_system(tmp_path: Path) -> None:
    rooms = Rooms("here")
    (tmp_path / "jane").mkdir()
    for name in ("jane", "joe/deep/Maildir"):
        rooms.add(os.fsencode(tmp_path / name), 3, 100, 5_000)
    (room,) = rooms.all()
    told = os.statvfs(tmp_path)
    assert (room.host, room.mailboxes, room.messages, room.size_bytes) == ("here", 2, 200, 10_000)
    assert room.inodes == 200 + 2 * (3 * 6 + 4)
    assert 0 < room.free_bytes <= told.f_blocks * told.f_frsize
    assert room.most_bytes == 10_000 + 200 * told.f_frsize
    assert nearest(os.fsencode(tmp_path / "joe/deep")) == os.fsencode(tmp_path)


def test_a_file_with_several_names_takes_room_once(tmp_path: Path) -> None:
    """Also where several workers have looked at some of its names each."""
    found: list[FileSystemRoom] = []
    for names in ((b"a", b"a", b"b"), (b"a", b"c")):
        rooms = Rooms("here")
        rooms.add(os.fsencode(tmp_path / "x"), 1, 10, 1_000)
        rooms.link(os.fsencode(tmp_path / "x"), [(name, 100) for name in names])
        found += rooms.all()
    (room,) = _rooms(found)
    block = os.statvfs(tmp_path).f_frsize
    assert (room.links, room.linked_bytes) == (2, 200)
    assert (room.messages, room.size_bytes) == (20, 2_000)
    assert room.most_inodes == room.inodes - 2 == 18 + 2 * (6 + 4)
    assert room.most_bytes == 1_800 + 18 * block


def test_what_does_not_fit() -> None:
    def room(free_bytes: int, free_inodes: int | None) -> FileSystemRoom:
        return FileSystemRoom(
            host="h",
            device=1,
            path="/",
            free_bytes=free_bytes,
            free_inodes=free_inodes,
            block_bytes=10,
            quotas=False,
            messages=5,
            size_bytes=100,
            inodes=7,
        )

    told = [room(*one).is_too_small for one in ((150, 7), (149, 7), (150, 6), (150, None))]
    assert told == [False, True, True, False]
