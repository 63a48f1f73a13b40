"""Files are what their pieces say, however these are cut and however little the system takes at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailhaul.proto.records import Ownership
from mailhaul.worker.stores.file_writer import FileWriter
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
