"""An archive that leaves the staging area while it is read: its excerpt is read on, its space is let go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.errors import DamagedError, StagingError, UnreadableError
from mailhaul.proto.records import STAGING, Location
from mailhaul.worker.archives.departing import Departing
from mailhaul.worker.archives.excerpts import write_excerpt
from mailhaul.worker.archives.holdings import EXCERPTS
from mailhaul.worker.archives.names import excerpt_name
from mailhaul.worker.archives.opened import open_archive
from mailhaul.worker.archives.places import Places
from mailhaul.worker.staging.area import StagingArea

from ....archives import write_archive

NAME = "primary/user/one.mha"
COPIES = (Location(STAGING, NAME), Location(EXCERPTS, NAME))


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(write_archive({"ann": {"INBOX": [os.urandom(3000)]}}))
    return path


def _open_descriptors_of(path: Path) -> int:
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(one).startswith(str(path))
        except FileNotFoundError:  # of this very loop
            continue
    return found


def test_a_reader_goes_on_in_the_excerpt_and_the_file_is_let_go(tmp_path: Path, staged: Path) -> None:
    file = Departing(COPIES, Places((StagingArea(path=str(tmp_path)),)).open)
    reader = open_archive(file)
    local = LocalFile(str(staged))
    write_excerpt(local, tmp_path / excerpt_name(NAME))
    local.close()
    staged.unlink()
    assert _open_descriptors_of(staged) == 1
    before = reader.entry("ann")
    file.let_go()
    assert _open_descriptors_of(staged) == 0
    assert open_archive(file).entry("ann") == before
    with pytest.raises(DamagedError):
        file.read_at(reader.directory.blocks.place(0).at, 10)
    file.close()


def test_what_another_host_can_not_read_any_more_is_read_from_the_next_copy() -> None:
    class Gone:
        name, size = "gone", 3

        def read_at(self, _offset: int, _length: int) -> bytes:
            there.clear()
            raise DamagedError("gone", reason="io-error")

        def close(self) -> None:
            pass

    class There(Gone):
        def read_at(self, _offset: int, _length: int) -> bytes:
            return b"yes"

    there = [STAGING]

    def opened(location: Location) -> Gone:
        if location.place == STAGING and not there:
            raise DamagedError("it is gone", reason="missing")
        return Gone() if location.place == STAGING else There()

    assert Departing(COPIES, opened).read_at(0, 3) == b"yes"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DamagedError("not there", reason="missing"), DamagedError),
        (UnreadableError("no right"), StagingError),
    ],
)
def test_what_can_not_be_opened_is_told(error: Exception, told: type[Exception]) -> None:
    def refuse(_location: Location) -> LocalFile:
        raise error

    opener: Callable[[Location], LocalFile] = refuse
    with pytest.raises(told, match=str(error)):
        Departing(COPIES, opener)
