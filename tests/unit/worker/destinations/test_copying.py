"""Copies of files and how they are read back: past the page cache, and where that can't be done."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from mailhaul.tests.contract.putting import Pattern
from mailhaul.worker.destinations import copying
from mailhaul.worker.destinations.copying import PIECE_BYTES, copy_into, digest_of

SIZES = [0, 1, 4096, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 4097]


@contextmanager
def new_file(place: Path) -> Iterator[int]:
    fd = os.open(place / "new", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        yield fd
    finally:
        os.close(fd)


def check(place: Path, size: int) -> None:
    source = Pattern(size)
    told: list[int] = []
    with new_file(place) as fd:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        checksum = copy_into(fd, source, told.append, nullcontext)
        assert digest_of(fd, size) == checksum
        assert fcntl.fcntl(fd, fcntl.F_GETFL) == flags
    data = source.read_at(0, size)
    assert (place / "new").read_bytes() == data
    assert (blake3(data).digest(), sum(told)) == (checksum, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_is_what_it_was(tmp_path: Path, size: int) -> None:
    check(tmp_path, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_system_without_direct_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def refuse(fd: int, command: int, argument: int = 0) -> int:
        if argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return fcntl.fcntl(fd, command, argument)

    monkeypatch.setattr(copying, "fcntl", type("Fcntl", (), {**vars(fcntl), "fcntl": staticmethod(refuse)}))
    check(tmp_path, size)


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_one_that_says_so_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    """So many pieces are taken before."""
    refused = []

    def late(name: str) -> Any:
        real, left = getattr(os, name), [pieces]

        def call(fd: int, data: Any, offset: int) -> int:
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
                if not left[0]:
                    refused.append(name)
                    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
                left[0] -= 1
            return int(real(fd, data, offset))

        return call

    for name in ("pwrite", "preadv"):
        monkeypatch.setattr(os, name, late(name))
    check(tmp_path, 3 * PIECE_BYTES + 5)
    assert refused == ["pwrite", "preadv"]


def test_what_is_read_back_is_what_the_disk_has(tmp_path: Path) -> None:
    with new_file(tmp_path) as fd:
        checksum = copy_into(fd, Pattern(2 * PIECE_BYTES + 7), lambda _: None, nullcontext)
        os.pwrite(fd, b"!", PIECE_BYTES)
        os.fsync(fd)
        assert digest_of(fd, 2 * PIECE_BYTES + 7) != checksum
        os.truncate(fd, PIECE_BYTES)
        assert digest_of(fd, 2 * PIECE_BYTES + 7) != checksum


def test_no_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken in part is told by the write after that."""

    def full(_fd: int, data: Any, _offset: int) -> int:
        if len(data) == PIECE_BYTES and not told:
            told.append(1)
            return 4096
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    told: list[int] = []
    monkeypatch.setattr(os, "pwrite", full)
    with new_file(tmp_path) as fd, pytest.raises(OSError, match="No space left"):
        copy_into(fd, Pattern(2 * PIECE_BYTES), lambda _: None, nullcontext)
