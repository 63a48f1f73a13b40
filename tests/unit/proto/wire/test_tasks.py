"""Sealed tasks: opened by the one worker on the one host that they are for, and by nobody else."""

from __future__ import annotations

import pytest

from mailhaul.proto.errors import AccessError
from mailhaul.proto.wire.keys import KeyPair, new_pair
from mailhaul.proto.wire.tasks import open_task, seal_task

HOST, WORKER, OTHER = new_pair(), new_pair(), new_pair()
TASK = b"\x80 a task with a key" * 1000
SEALED = seal_task(TASK, "store01", HOST.public, WORKER.public)


def test_the_worker_opens_it() -> None:
    assert open_task(SEALED, "store01", HOST, WORKER) == TASK
    assert b"with a key" not in SEALED
    assert seal_task(TASK, "store01", HOST.public, WORKER.public) != SEALED


@pytest.mark.parametrize(
    ("name", "host", "worker"),
    [
        ("store02", HOST, WORKER),
        ("store01", OTHER, WORKER),
        ("store01", HOST, OTHER),
        ("store01", WORKER, HOST),
    ],
)
def test_nobody_else_does(name: str, host: KeyPair, worker: KeyPair) -> None:
    with pytest.raises(AccessError, match="for another worker"):
        open_task(SEALED, name, host, worker)


def test_what_was_altered_is_refused() -> None:
    for at in (*range(120), len(SEALED) - 1):
        bad = bytearray(SEALED)
        bad[at] ^= 1
        with pytest.raises(AccessError):
            open_task(bytes(bad), "store01", HOST, WORKER)
    for size in (0, 3, 4, 36, 100, len(SEALED) - 1):
        with pytest.raises(AccessError):
            open_task(SEALED[:size], "store01", HOST, WORKER)


def test_a_key_that_is_none_is_named() -> None:
    with pytest.raises(AccessError, match="store01"):
        seal_task(TASK, "store01", "0" * 40, WORKER.public)
