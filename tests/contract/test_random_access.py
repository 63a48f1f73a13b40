"""What every adapter and every wrapper of RandomAccess promises (proto/archive/files.py)."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from mailhaul.proto.archive.files import Joined, LocalFile, RandomAccess, ReadAhead, ReadTail
from mailhaul.proto.errors import DamagedError
from mailhaul.worker.destinations.directory import StoredFile
from mailhaul.worker.destinations.memory import MemoryFile

from ..receiving import FILE, make_place, receiver_thread

SIZE = 3_000_017
DATA = random.Random(7).randbytes(SIZE)

Opened = Iterator[Callable[[], RandomAccess]]
"""What opens the file; what it needs ends with the context."""


def _write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


@contextmanager
def _local(place: Path) -> Opened:
    path = _write(place / "file", DATA)
    yield lambda: LocalFile(path)


@contextmanager
def _stretch(place: Path) -> Opened:
    path = _write(place / "file", b"before" + DATA + b"behind")
    yield lambda: LocalFile(path, len(b"before"), SIZE)


@contextmanager
def _joined(place: Path) -> Opened:
    ends = [0, 1, 1_000_000, 1_000_000, 2_999_999, SIZE]
    parts = [
        LocalFile(_write(place / str(begin) / str(end), DATA[begin:end])) for begin, end in pairwise(ends)
    ]
    yield lambda: Joined(parts)
    for part in parts:
        part.close()


@contextmanager
def _ahead(place: Path) -> Opened:
    path = _write(place / "file", DATA)
    yield lambda: ReadAhead(LocalFile(path))


@contextmanager
def _tail(place: Path) -> Opened:
    path = _write(place / "file", DATA)
    yield lambda: ReadTail(LocalFile(path), 100_000)


@contextmanager
def _long_tail(place: Path) -> Opened:
    path = _write(place / "file", DATA)
    yield lambda: ReadTail(LocalFile(path), 2 * SIZE)


@contextmanager
def _remote(place: Path) -> Opened:
    with receiver_thread(make_place(place / "staging")) as (found, _):
        _write(found.area / FILE, DATA)

        def opened() -> RandomAccess:
            file = found.file()
            assert file is not None
            return file

        yield opened


@contextmanager
def _stored(place: Path) -> Opened:
    path = _write(place / "file", DATA)
    yield lambda: StoredFile("vault", "file", os.open(path, os.O_RDONLY))


@contextmanager
def _memory(_: Path) -> Opened:
    yield lambda: MemoryFile("memory", DATA)


ADAPTERS: Mapping[str, Callable[[Path], AbstractContextManager[Callable[[], RandomAccess]]]] = {
    "local": _local,
    "stretch": _stretch,
    "joined": _joined,
    "ahead": _ahead,
    "tail": _tail,
    "long tail": _long_tail,
    "remote": _remote,
    "stored": _stored,
    "memory": _memory,
}


@pytest.fixture(params=sorted(ADAPTERS))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], RandomAccess]]:
    """Opens a file that holds DATA."""
    with ADAPTERS[request.param](tmp_path) as found:
        yield found


@pytest.fixture
def file(opened: Callable[[], RandomAccess]) -> Iterator[RandomAccess]:
    """A file that holds DATA."""
    with closing(opened()) as found:
        yield found


def test_it_has_a_name_and_a_size(file: RandomAccess) -> None:
    assert file.name
    assert file.size == SIZE


@pytest.mark.parametrize("length", [1, 100, 32 << 10, 100_000, 1 << 20])
def test_any_part_is_read(file: RandomAccess, length: int) -> None:
    chosen = random.Random(length)
    offsets = [0, SIZE - length, SIZE - 1, *(chosen.randrange(SIZE) for _ in range(20))]
    for offset in offsets:
        assert file.read_at(offset, length) == DATA[offset : offset + length]


def test_all_is_read_in_small_steps_and_backwards(file: RandomAccess) -> None:
    steps = range(0, SIZE, 30_011)
    assert b"".join(file.read_at(offset, 30_011) for offset in steps) == DATA
    assert b"".join(file.read_at(offset, 30_011) for offset in reversed(steps))[-30_011:] == DATA[:30_011]
    assert file.read_at(0, 2 * SIZE) == DATA


def test_beyond_the_end_there_is_nothing(file: RandomAccess) -> None:
    assert file.read_at(SIZE - 5, 100) == DATA[-5:]
    for offset, length in [(SIZE, 1), (SIZE + 1, 10), (10 * SIZE, 1), (5, 0), (-1, 5), (-SIZE, SIZE)]:
        assert file.read_at(offset, length) == b""


def test_two_do_not_disturb_each_other(opened: Callable[[], RandomAccess]) -> None:
    with closing(opened()) as access, closing(opened()) as other:
        for offset in range(0, SIZE - 200, 500_000):
            assert access.read_at(offset, 100) == DATA[offset : offset + 100]
            assert other.read_at(SIZE - 100 - offset, 100) == DATA[SIZE - 100 - offset :][:100]


def test_closing_can_be_repeated(opened: Callable[[], RandomAccess]) -> None:
    file = opened()
    file.close()
    file.close()


def test_what_the_disk_does_not_give_is_damage(
    request: pytest.FixtureRequest,
    opened: Callable[[], RandomAccess],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "[memory]" in request.node.name:
        pytest.skip("it asks no disk")

    def broken(_fd: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with closing(opened()) as file:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", broken)
            with pytest.raises(DamagedError) as damaged:
                file.read_at(1_500_000, 10)
        assert damaged.value.facts["reason"] == "io-error"
        assert file.read_at(1_500_000, 10) == DATA[1_500_000:1_500_010], "it can be tried again"
