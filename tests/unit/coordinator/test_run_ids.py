"""Each id of a run is given out once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog, rebuild
from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.run_ids import new_run_id, newest_given, note_given
from mailhaul.proto.errors import BackupError
from mailhaul.proto.records import RunId

NOW = 1_795_298_400.0


def begun(staging: Path, now: float = NOW) -> RunId:
    """The id of a run that leaves no archive."""
    with Catalog.open(staging, write=True) as catalog:
        run = new_run_id(now, newest_given(staging, catalog))
        note_given(staging, run)
        catalog.begin_run(run, utc(now))
        return run


def test_after_a_rebuild_within_the_same_second(tmp_path: Path) -> None:
    given = []
    for _ in range(50):
        given.append(begun(tmp_path))
        rebuild(tmp_path, [])
    assert given == sorted(set(given))


def test_after_one_in_the_far_future(tmp_path: Path) -> None:
    future = begun(tmp_path, NOW + 50 * 365 * 86400)
    rebuild(tmp_path, [])
    assert begun(tmp_path) > future


def test_where_all_but_the_archives_is_lost(tmp_path: Path) -> None:
    (tmp_path / "primary" / "user").mkdir(parents=True)
    for name in (
        "20991231T000000Z-0001.0.0123456789abcdef.mha",
        "20991231T000001Z-0007.3.0123456789abcdef.mha.5.partial",
        "x.mha",
    ):
        (tmp_path / "primary" / "user" / name).touch()
    assert begun(tmp_path) == "20991231T000001Z-0008"
    shutil.rmtree(tmp_path / ".mailhaul")
    (tmp_path / ".mailhaul").mkdir()
    (tmp_path / ".mailhaul" / "run-id").write_bytes(b"\xffnonsense")
    assert begun(tmp_path) == "20991231T000001Z-0008"


@pytest.mark.parametrize("last", ["99991231T235959Z-ffff", "20269999T999999Z-ffff"])
def test_the_last_id_that_there_is(last: str) -> None:
    with pytest.raises(BackupError, match="no id of a run sorts behind"):
        new_run_id(NOW, RunId(last))
