"""A directory as a destination on file systems that are full, read-only, or gone; two who write at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.proto.errors import PlaceError, PlaceFullError, PlaceUnavailableError
from mailhaul.tests.contract.putting import Pattern
from mailhaul.worker.destinations.directory import DirectoryPlace, found_directory

AREA = "5a8d6c11"
NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
OTHER = "primary/user/20261121T031500Z-4f3a.1.0123456789abcdef.mha"
SIZE = 3 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A destination on a file system of five megabytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    path = tmp_path / "mnt"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", path], check=True)
    try:
        found_directory(str(path), AREA)
        yield path
    finally:
        while os.path.ismount(path):
            subprocess.run(["umount", "--lazy", path], check=True)


def opened(path: Path) -> DirectoryPlace:
    return DirectoryPlace("vault", str(path), area=AREA)


def test_a_full_disk(disk: Path) -> None:
    with closing(opened(disk)) as place:
        place.put(NAME, Pattern(SIZE))
        with pytest.raises(PlaceFullError, match="No space left"):
            place.put(OTHER, Pattern(SIZE))
        assert [copy.name for copy in place.list()] == [NAME]
        assert os.listdir(disk / ".arriving") == []
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert place.put(OTHER, Pattern(SIZE)).size_bytes == SIZE


def test_no_more_files(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=8", disk], check=True)
    with closing(opened(disk)) as place:
        for number in range(8):
            try:
                place.put(f"file{number}", Pattern(1))
            except PlaceFullError:
                break
        there = len(list(place.list()))
        assert 0 < there < 8
        subprocess.run(["mount", "-o", "remount,nr_inodes=100", disk], check=True)
        place.put("file9", Pattern(1))
        assert len(list(place.list())) == there + 1


def test_a_read_only_disk(disk: Path) -> None:
    with closing(opened(disk)) as place:
        place.put(NAME, Pattern(SIZE))
    (disk / ".arriving" / "leftover").write_bytes(b"half")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with closing(opened(disk)) as place:
        with pytest.raises(PlaceError, match="Read-only file system") as refused:
            place.put(OTHER, Pattern(SIZE))
        assert not refused.value.retryable
        with pytest.raises(PlaceError, match="Read-only file system"):
            place.remove(NAME)
        with closing(place.open(NAME)) as file:
            assert file.read_at(0, SIZE) == Pattern(SIZE).read_at(0, SIZE)


def test_a_disk_that_is_not_mounted(disk: Path) -> None:
    with closing(opened(disk)) as place:
        place.put(NAME, Pattern(1000))
        subprocess.run(["umount", "--lazy", disk], check=True)
        # What is open stays open: nothing gets below the mount point.
        place.put(OTHER, Pattern(1000))
        place.close()
        for call in (lambda: place.put(NAME, Pattern(1000)), lambda: list(place.list())):
            with pytest.raises(PlaceUnavailableError, match="mount its disk") as gone:
                call()
            assert gone.value.retryable
        assert os.listdir(disk) == []


_PUT = """
import sys
from mailhaul.tests.contract.putting import Pattern
from mailhaul.worker.destinations.directory import DirectoryPlace
place = DirectoryPlace("vault", sys.argv[1], area=sys.argv[2])
sys.stdin.read(1)
for number in range(20):
    place.put(f"file{number}", Pattern(200_000))
"""


def test_two_write_the_same_at_once(tmp_path: Path) -> None:
    root = tmp_path / "vault"
    found_directory(str(root), AREA)
    writers = [
        subprocess.Popen([sys.executable, "-c", _PUT, root, AREA], stdin=subprocess.PIPE) for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"x")
        writer.stdin.close()
    assert [one.wait(120) for one in writers] == [0, 0, 0]
    with closing(opened(root)) as place:
        found = {copy.name: copy.size_bytes for copy in place.list()}
    assert found == {f"file{number}": 200_000 for number in range(20)}
    assert all((root / name).read_bytes() == Pattern(200_000).read_at(0, 200_000) for name in found)
    assert os.listdir(root / ".arriving") == []
