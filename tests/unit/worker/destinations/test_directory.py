"""A directory as a place: what is special to it, beside the promises of the port."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.proto.errors import (
    AccessError,
    BackupError,
    DamagedError,
    ExistsError,
    PlaceError,
    PlaceFullError,
    PlaceUnavailableError,
    UnreadableError,
)
from mailhaul.tests.contract.putting import Pattern
from mailhaul.tests.faults.killed import killed_at
from mailhaul.worker.destinations import copying, directory, publishing
from mailhaul.worker.destinations.arrivals import new_arrival
from mailhaul.worker.destinations.directory import DirectoryPlace, found_directory
from mailhaul.worker.destinations.marks import MARK

AREA = "5a8d6c11"
NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
SIZE = 5000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "vault"
    assert found_directory(str(path), AREA) == AREA
    return path


def opened(root: Path, area: str = AREA) -> DirectoryPlace:
    return DirectoryPlace("vault", str(root), area=area)


def names(place: DirectoryPlace) -> list[str]:
    return [copy.name for copy in place.list()]


def fails(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int) -> None:
    """Let a call of the system raise an error."""

    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(owner, name, call)


def test_one_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    place = opened(tmp_path / "missing")
    for call in (
        lambda: list(place.list()),
        lambda: place.put(NAME, Pattern(SIZE)),
        lambda: place.stat(NAME),
    ):
        with pytest.raises(PlaceUnavailableError, match=r"no directory .*/missing.*destination check vault"):
            call()
    assert not (tmp_path / "missing").exists()


def test_an_empty_mount_point_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    place = opened(tmp_path / "mnt")
    with pytest.raises(PlaceUnavailableError, match=r"has no mailhaul-destination\.json.*mount its disk"):
        place.put(NAME, Pattern(SIZE))
    with pytest.raises(PlaceUnavailableError):
        place.stat(NAME)
    assert os.listdir(tmp_path / "mnt") == []
    found_directory(str(tmp_path / "mnt"), AREA)
    place.put(NAME, Pattern(SIZE))
    assert names(place) == [NAME]


def test_a_disk_that_goes_away_while_it_is_open(root: Path, tmp_path: Path) -> None:
    with closing(opened(root)) as place:
        place.stat(NAME)
        root.rename(tmp_path / "elsewhere")
        root.mkdir()
        place.put(NAME, Pattern(SIZE))
    assert os.listdir(root) == []
    assert (tmp_path / "elsewhere" / NAME).exists()


def test_that_of_another_staging_area_is_read_and_never_changed(root: Path) -> None:
    opened(root).put(NAME, Pattern(SIZE))
    place = opened(root, "ffff0000")
    with closing(place.open(NAME)) as file:
        assert file.size == SIZE
    for call in (lambda: place.put("other", Pattern(1)), lambda: place.remove(NAME)):
        with pytest.raises(PlaceError, match=r"of another staging area \(5a8d6c11\).*adopt vault"):
            call()
    assert names(opened(root, "")) == [NAME]
    assert found_directory(str(root), "ffff0000") == AREA, "the mark stays"


@pytest.mark.parametrize("mark", [b"", b"[]", b"{}", b"\xff", b'{"mailhaul_destination": 2, "area": "a"}'])
def test_a_mark_that_is_none(root: Path, mark: bytes) -> None:
    (root / MARK).write_bytes(mark)
    with pytest.raises(PlaceError, match="is not the mark"):
        opened(root).stat(NAME)


def test_the_mark_is_none_of_the_files(root: Path) -> None:
    place = opened(root)
    assert names(place) == []
    for call in (lambda: place.put(MARK, Pattern(1)), lambda: place.remove(MARK), lambda: place.open(MARK)):
        with pytest.raises(AccessError):
            call()


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "user").mkdir(parents=True)
    (outside / "secret").write_bytes(b"x")
    (root / "primary").symlink_to(outside)
    (root / "link").symlink_to(outside / "secret")
    place = opened(root)
    for name in (NAME, "primary/secret", "link"):
        for call in (place.stat, place.open, place.remove):
            with pytest.raises(AccessError):
                call(name)
        with pytest.raises(AccessError):
            place.put(name, Pattern(SIZE))
    assert names(place) == []
    assert (outside / "secret").read_bytes() == b"x"
    assert os.listdir(outside / "user") == []


@pytest.mark.parametrize("missing", ["renameat2", "renameat2 and links"])
def test_without_the_calls_that_do_not_replace(
    root: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    fails(monkeypatch, publishing, "_rename_without_replacing", errno.EINVAL)
    if "links" in missing:
        fails(monkeypatch, publishing, "_link", errno.EPERM)
    place = opened(root)
    place.put(NAME, Pattern(SIZE))
    with pytest.raises(ExistsError):
        place.put(NAME, Pattern(SIZE, b"other"))
    assert (root / NAME).read_bytes() == Pattern(SIZE).read_at(0, SIZE)
    # Somebody else comes first while this one writes.
    comes_between(root, monkeypatch)
    with pytest.raises(ExistsError):
        place.put("other", Pattern(SIZE))
    assert (root / "other").read_bytes() == b"first"
    assert os.listdir(root / ".arriving") == []


def comes_between(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another program put a file called ``other`` while one is being written."""

    def digest(fd: int, size_bytes: int) -> bytes:
        (root / "other").write_bytes(b"first")
        return real(fd, size_bytes)

    real = copying.digest_of
    monkeypatch.setattr(directory, "digest_of", digest)


def test_somebody_else_comes_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comes_between(root, monkeypatch)
    with pytest.raises(ExistsError):
        opened(root).put("other", Pattern(SIZE))
    assert (root / "other").read_bytes() == b"first"


def test_what_is_read_back_is_compared(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "digest_of", lambda _fd, _size_bytes: bytes(32))
    with pytest.raises(PlaceUnavailableError, match="read back"):
        opened(root).put(NAME, Pattern(SIZE))
    assert not (root / NAME).exists()
    assert os.listdir(root / ".arriving") == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, PlaceFullError),
        (errno.EDQUOT, PlaceFullError),
        (errno.EROFS, PlaceError),
        (errno.EFBIG, PlaceError),
        (errno.EACCES, AccessError),
        (errno.EIO, PlaceUnavailableError),
        (errno.ESTALE, PlaceUnavailableError),
    ],
)
@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_errors_of_the_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[BackupError], call: str
) -> None:
    place = opened(root)
    with monkeypatch.context() as patch:
        fails(patch, os, call, number)
        with pytest.raises(kind, match=os.strerror(number)) as raised:
            place.put(NAME, Pattern(SIZE))
        assert type(raised.value) is kind
    assert names(place) == []
    assert place.put(NAME, Pattern(SIZE)).size_bytes == SIZE, "the place goes on"
    assert os.listdir(root / ".arriving") == []


def test_lost_bytes_are_damage_and_a_lost_disk_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = opened(root)
    place.put(NAME, Pattern(SIZE))
    with closing(place.open(NAME)) as file:
        with monkeypatch.context() as patch:
            fails(patch, os, "pread", errno.EIO)
            with pytest.raises(DamagedError) as damaged:
                file.read_at(0, 10)
            assert damaged.value.facts["reason"] == "io-error"
            fails(patch, os, "pread", errno.ESTALE)
            with pytest.raises(PlaceUnavailableError):
                file.read_at(0, 10)
        (root / NAME).write_bytes(b"cut")
        with pytest.raises(DamagedError, match="was cut at 3"):
            file.read_at(0, 10)


def test_what_may_not_be_read_is_not_taken_for_damaged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = opened(root)
    place.put(NAME, Pattern(SIZE))
    really = os.open

    def refused(path: str, *arguments: object, **more: object) -> int:
        if path.endswith(".mha"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return really(path, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UnreadableError, match="Permission denied"):
        place.open(NAME)


def test_only_what_nobody_writes_is_left_over(root: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    with closing(new_arrival(fd)):
        (root / ".arriving" / "killed").write_bytes(b"half")
        opened(root).stat(NAME)
        left = os.listdir(root / ".arriving")
        assert len(left) == 1
        assert left != ["killed"]
    os.close(fd)
    assert os.listdir(root / ".arriving") == []


def test_one_that_is_taken_for_a_leftover_is_begun_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def lock(fd: int, operation: int) -> None:
        if not taken:
            taken.extend(os.listdir(root / ".arriving"))
            (root / ".arriving" / taken[0]).unlink()

    monkeypatch.setattr(fcntl, "flock", lock)
    opened(root).put(NAME, Pattern(SIZE))
    assert len(taken) == 1
    assert (root / NAME).stat().st_size == SIZE


def test_a_kill_at_any_step(root: Path) -> None:
    """Before each call that changes the disk: afterwards the file is whole or not there, and can be put."""
    steps = [(os, name) for name in ("mkdir", "pwrite", "fsync", "unlink")]
    steps.append((publishing, "_rename_without_replacing"))
    for step in range(1, 100):
        name = f"primary/group{step}/file"
        if not killed_at(step, steps, lambda name=name: opened(root).put(name, Pattern(SIZE))):  # type: ignore[misc]
            break
        place = opened(root)
        found = place.stat(name)
        assert found is None or (root / name).read_bytes() == Pattern(SIZE).read_at(0, SIZE)
        assert os.listdir(root / ".arriving") == []
        place.put(name, Pattern(SIZE))
    assert step > 8
