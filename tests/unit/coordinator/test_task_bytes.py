"""Tasks with keys in them are noticed, wherever in a task these are, and leave this host sealed only."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from mailhaul.coordinator.dispatch.task_bytes import is_sealed, packed, unpacked
from mailhaul.proto.errors import AccessError
from mailhaul.proto.keys.records import NO_KEYS, Keyring
from mailhaul.proto.records import Partition
from mailhaul.proto.wire.keys import make_pair, new_pair
from mailhaul.tests.sealed import OF_A_HOST, SEALING
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.staging.area import StagingArea
from mailhaul.worker.tasks.restore import RestoreTask

TARGET = Partition(name="primary", format="maildir", path="/srv/{user}")
AREA = StagingArea(path="/staging")
WORKER = new_pair()


def task(area: StagingArea, unlocked: Keyring = NO_KEYS) -> RestoreTask:
    holdings = Holdings(places=(area,), unlocked=unlocked)
    return RestoreTask(archives=holdings, choices=(), target=TARGET, label="a task")


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """The directory of the keys of a host."""
    make_pair(tmp_path / "keys", "store01")
    return str(tmp_path / "keys")


@pytest.mark.parametrize(
    "restore_task",
    [
        task(StagingArea(path="/staging", keys=OF_A_HOST)),
        task(StagingArea(path="/staging", sealing=SEALING)),
        task(StagingArea(path="/staging", resealing=SEALING)),
        task(AREA, Keyring(contents={b"id": b"secret"})),
    ],
)
def test_a_task_with_keys_is_sealed(restore_task: RestoreTask, keys: str) -> None:
    data = packed(restore_task, "store01", keys, WORKER.public)
    assert is_sealed(data)
    assert b"a task" not in data
    assert unpacked(data, "store01", keys, WORKER) == restore_task
    assert "secret" not in repr(restore_task)


def test_one_without_goes_as_it_is(keys: str) -> None:
    data = packed(task(AREA), "store01", "", "")
    assert data == pickle.dumps(task(AREA))
    assert not is_sealed(data)
    assert unpacked(data, "store01", "", None) == task(AREA)


def test_without_a_key_pair_nothing_with_keys_leaves(keys: str, tmp_path: Path) -> None:
    restore_task = task(StagingArea(path="/staging", keys=OF_A_HOST))
    for directory, worker in (("", WORKER.public), (keys, "")):
        with pytest.raises(AccessError, match="host store01 has no key pair"):
            packed(restore_task, "store01", directory, worker)
    with pytest.raises(AccessError, match=r"store02\.key: can't be read"):
        packed(restore_task, "store02", keys, WORKER.public)
    sealed = packed(restore_task, "store01", keys, WORKER.public)
    with pytest.raises(AccessError, match="has no key"):
        unpacked(sealed, "store01", keys, None)
    with pytest.raises(AccessError, match="can't be read"):
        unpacked(sealed, "store01", str(tmp_path / "none"), WORKER)
    make_pair(tmp_path / "other", "store01")
    with pytest.raises(AccessError, match="another key of store01"):
        unpacked(sealed, "store01", str(tmp_path / "other"), WORKER)
