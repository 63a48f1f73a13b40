"""Files are what their pieces say, however these are cut and however little the system takes at once."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailhaul.proto.records import Ownership
from mailhaul.worker.stores.attributes import DEFAULT
from mailhaul.worker.stores.file_writer import FileWriter, NewFiles
from mailhaul.worker.stores.notices import Notices

LINE = bytes(range(1, 200))


def written(tmp_path: Path, pieces: Sequence[bytes]) -> bytes:
    directory = os.open(tmp_path, os.O_RDONLY)
    owner = Ownership(0o600, os.geteuid(), os.getegid())
    try:
        FileWriter(Notices()).write(directory, b"file", pieces, owner, 0)
    finally:
        os.close(directory)
    return (tmp_path / "file").read_bytes()


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"", LINE, b""],
        [LINE] * 3000,
        [LINE * 500, b"", LINE * 9000, LINE],
        [LINE * 500, bytes(20_000), LINE * 500, bytes(1 << 20), bytes(3)],
    ],
    ids=["empty", "small", "many pieces", "large pieces", "zeros"],
)
def test_pieces_become_a_file(tmp_path: Path, pieces: Sequence[bytes]) -> None:
    assert written(tmp_path, pieces) == b"".join(pieces)


def test_what_the_system_did_not_take_at_once_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def little(fd: int, pieces: Sequence[bytes]) -> int:
        taken.append(os.write(fd, pieces[0][:1000]))
        return taken[-1]

    monkeypatch.setattr(os, "writev", little)
    pieces = [LINE * 300, LINE * 200]
    assert written(tmp_path, pieces) == b"".join(pieces)
    assert taken == [1000]


MODES = (0o600, 0o640, 0o666, 0o400, 0o777)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def made_in(directory: Path, modes: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Mode, owner and time of files that are written there one after the other."""
    fd = os.open(directory, os.O_RDONLY)
    notices = Notices()
    try:
        files = FileWriter(notices)
        new = NewFiles(files, fd)
        for number, mode in enumerate(modes):
            owner = Ownership(0o6000 | mode, os.geteuid(), os.getegid())
            new.write(b"%d" % number, [LINE], owner, number)
        files.report()
    finally:
        os.close(fd)
    assert not notices.skipped
    found = [(directory / str(number)).stat() for number in range(len(modes))]
    return [(one.st_mode & 0o7777, one.st_uid, one.st_gid, one.st_mtime_ns) for one in found]


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_files_get_their_mode_whatever_the_umask_is(tmp_path: Path, mask: int) -> None:
    modes = [*MODES, *MODES]
    with umask(mask):
        found = made_in(tmp_path, modes)
    mine = os.geteuid(), os.getegid()
    assert found == [(mode, *mine, number) for number, mode in enumerate(modes)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nobody_else_can_read_a_file_that_is_not_theirs_yet(tmp_path: Path) -> None:
    seen = []

    def looking(path: Path) -> Iterator[bytes]:
        seen.append(path.stat().st_mode & 0o777)
        yield LINE

    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        new = NewFiles(FileWriter(Notices()), fd)
        for number, whose in enumerate([1234, 0, 1234, 0, 1234]):
            name = str(number)
            new.write(name.encode(), looking(tmp_path / name), Ownership(0o644, whose, whose), 0)
    finally:
        os.close(fd)
    assert [seen[0], *seen[2::2]] == [0o600] * 3
    assert [(tmp_path / str(n)).stat().st_uid for n in range(5)] == [1234, 0, 1234, 0, 1234]
    assert [(tmp_path / str(n)).stat().st_mode & 0o7777 for n in range(5)] == [0o644] * 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_get_their_group_where_the_directory_gives_another(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1235)
    tmp_path.chmod(0o2700)
    assert made_in(tmp_path, [0o640] * 3) == [(0o640, 0, os.getegid(), number) for number in range(3)]


def test_files_get_their_mode_where_the_directory_has_a_default_list(tmp_path: Path) -> None:
    entries = [(0x01, 7, -1), (0x02, 7, 4321), (0x04, 5, -1), (0x10, 5, -1), (0x20, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(tmp_path, DEFAULT, acl)
    except OSError:
        pytest.skip("a file system without access lists")
    assert [mode for mode, *_ in made_in(tmp_path, [0o666] * 3)] == [0o666] * 3


def test_what_is_right_from_the_start_is_not_set_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("it is right already")

    monkeypatch.setattr(os, "fchown", refused)
    monkeypatch.setattr(os, "fchmod", refused)
    with umask(0o077):
        assert [mode for mode, *_ in made_in(tmp_path, [0o600] * 3)] == [0o600] * 3
