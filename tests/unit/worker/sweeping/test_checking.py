"""What is checked of a file while somebody else reads it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import HEADER_BYTES, decode_any_header
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.worker.sweeping.checking import CheckedSource


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chain = StagedChain(tmp_path_factory.mktemp("chain") / "staging")
    chain.run({"anna": {"INBOX": tuple(random.Random(1).randbytes(900) for _ in range(40))}})
    (path,) = chain.staging.glob("primary/*/*.mha")
    return path


def frames(data: bytes) -> Iterator[tuple[int, int, ArchiveId]]:
    """Where each frame begins and ends."""
    at = 0
    while at < len(data):
        header, _ = decode_any_header(data[at : at + HEADER_BYTES], "")
        yield at, at + HEADER_BYTES + header.stored_bytes, header.archive
        at += HEADER_BYTES + header.stored_bytes


def id_of(data: bytes) -> ArchiveId:
    return next(frames(data))[2]


def read_through(path: Path, owner: ArchiveId | None, piece: int = 4096, checksum: bytes = b"") -> bytes:
    with closing(LocalFile(str(path))) as file:
        source = CheckedSource(file, archive=owner, checksum=checksum)
        return b"".join(source.read_at(at, piece) for at in range(0, source.size, piece))


@pytest.mark.parametrize("piece", [1, 7, HEADER_BYTES, 4096, 1 << 20])
def test_a_whole_archive_passes_in_pieces_of_any_size(archive: Path, piece: int) -> None:
    data = archive.read_bytes()
    assert read_through(archive, id_of(data), piece, blake3(data).digest()) == data


def test_a_byte_that_has_changed_in_any_frame_is_found(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    found = list(frames(data))
    assert len(found) > 3
    for begin, end, _ in found:
        for at in (begin + 9, end - 1):
            damaged = bytearray(data)
            damaged[at] ^= 1
            path = tmp_path / "damaged.mha"
            path.write_bytes(damaged)
            with pytest.raises(DamagedError):
                read_through(path, id_of(data))


def test_a_frame_that_is_missing_is_found(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    _, (begin, end, _), *_ = frames(data)
    path = tmp_path / "short.mha"
    path.write_bytes(data[:begin] + data[end:])
    with pytest.raises(DamagedError):
        read_through(path, id_of(data))


def test_an_archive_of_another_id_or_without_its_end_is_none(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    with pytest.raises(DamagedError):
        read_through(archive, ArchiveId(bytes(16)))
    path = tmp_path / "cut.mha"
    path.write_bytes(data[:-20])
    with pytest.raises(DamagedError):
        read_through(path, id_of(data))


def test_the_last_bytes_of_what_is_not_the_same_are_not_given(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    with closing(LocalFile(str(path))) as file:
        source = CheckedSource(file, checksum=bytes(32))
        assert source.read_at(0, 99) == b"x" * 99
        for _ in range(2):
            with pytest.raises(DamagedError, match="not what was copied before"):
                source.read_at(99, 1)


def test_what_nobody_has_read_is_read_in_the_end(archive: Path) -> None:
    data = archive.read_bytes()
    with closing(LocalFile(str(archive))) as file:
        source = CheckedSource(file, archive=id_of(data))
        source.read_at(0, 100)
        source.read_at(50, 20)
        source.read_at(len(data) - 10, 10)
        assert source.read_rest() == source.read_rest() == blake3(data).digest()
