"""Files that an operation is given are kept with it as they were, for nobody else, until it has ended."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Request
from mailhaul.coordinator.serving.files import KEPT, forget_old
from mailhaul.coordinator.serving.given_files import all_given, forget_given, given, keep
from mailhaul.coordinator.serving.stopping import stop
from mailhaul.proto.errors import StagingError

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
RESTORE = Request(kind="restore", arguments=("/", "--map", "/etc/map"), asked_by="cli:root")


def test_what_is_kept_is_private_and_found_by_its_parameter(tmp_path: Path) -> None:
    keep(tmp_path, 7, {"map_file": b"old", "announcement": b"hello"})
    keep(tmp_path, 7, {"map_file": b"a = b\n"})  # the transaction of before came to nothing
    keep(tmp_path, 8, {"ca_file": b"pem"})
    path = given(tmp_path, 7, "map_file")
    assert path
    assert path.read_bytes() == b"a = b\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert given(tmp_path, 7, "ca_file") is None
    assert given(tmp_path, 7, "announcement") is None, "that was given to another operation"
    assert {number: len(files) for number, files in all_given(tmp_path).items()} == {7: 1, 8: 1}
    forget_given(tmp_path, 7)
    assert sorted(all_given(tmp_path)) == [8]
    forget_old(tmp_path, 8 + KEPT)
    assert all_given(tmp_path) == {}


def test_an_operation_and_its_files_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    queue = Operations(tmp_path)

    def full(_: int) -> None:
        raise StagingError("no space left on device")

    with pytest.raises(StagingError, match="no space"):
        queue.add(RESTORE, NOW, full)
    assert queue.newest(9) == ()
    one = queue.add(RESTORE, NOW, lambda number: keep(tmp_path, number, {"map_file": b"x"}))
    assert list(all_given(tmp_path)) == [one.id]


def test_one_that_is_withdrawn_keeps_nothing(tmp_path: Path) -> None:
    one = Operations(tmp_path).add(RESTORE, NOW, lambda number: keep(tmp_path, number, {"map_file": b"x"}))
    assert stop(tmp_path, one.id, lambda: NOW).state == "stopped"
    assert all_given(tmp_path) == {}
