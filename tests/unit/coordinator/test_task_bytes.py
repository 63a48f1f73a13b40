"""Tasks with keys in them are noticed, wherever in a task these are."""

from __future__ import annotations

import pickle

import pytest

from mailhaul.coordinator.dispatch.task_bytes import pickled
from mailhaul.proto.keys.records import NO_KEYS, Keyring
from mailhaul.proto.records import Partition
from mailhaul.tests.sealed import OF_A_HOST, SEALING
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.staging.area import StagingArea
from mailhaul.worker.tasks.restore import RestoreTask

TARGET = Partition(name="primary", format="maildir", path="/srv/{user}")
AREA = StagingArea(path="/staging")


def task(area: StagingArea, unlocked: Keyring = NO_KEYS) -> RestoreTask:
    holdings = Holdings(places=(area,), unlocked=unlocked)
    return RestoreTask(archives=holdings, choices=(), target=TARGET, label="a task")


@pytest.mark.parametrize(
    "one",
    [
        task(StagingArea(path="/staging", keys=OF_A_HOST)),
        task(StagingArea(path="/staging", sealing=SEALING)),
        task(StagingArea(path="/staging", resealing=SEALING)),
        task(AREA, Keyring(contents={b"id": b"secret"})),
    ],
)
def test_keys_are_found(one: RestoreTask) -> None:
    data, has_keys = pickled(one)
    assert has_keys
    assert pickle.loads(data) == one
    assert b"secret" not in repr(one).encode()


def test_where_there_are_none_it_says_so() -> None:
    data, has_keys = pickled(task(AREA))
    assert not has_keys
    assert data == pickle.dumps(task(AREA))
