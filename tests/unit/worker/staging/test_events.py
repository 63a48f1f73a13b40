"""Progress from other hosts is checked before it counts."""

from __future__ import annotations

import json

import pytest

from mailhaul.proto.records import Progress
from mailhaul.proto.wire.envelopes import MOST_EVENT_BYTES
from mailhaul.worker.staging.events import _events, decode_progress

PROGRESS = Progress("primary/user/0", 3, 4, "anna", 2, 1, "the staging area is full")


def test_there_and_back() -> None:
    for progress in (PROGRESS, PROGRESS._replace(done=("a mailbox", "another"))):
        assert decode_progress(json.dumps(progress).encode()) == progress


def test_much_that_is_done_takes_several_events() -> None:
    done = tuple(f"{number:03}" + "x" * 300 for number in range(200))
    events = list(_events(PROGRESS._replace(done=(*done[:100], "y" * MOST_EVENT_BYTES, *done[100:]))))
    assert all(len(event) <= MOST_EVENT_BYTES for event in events)
    told = [progress for event in events if (progress := decode_progress(event))]
    assert len(told) == len(events) > 3
    assert tuple(line for one in told for line in one.done) == done


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b'"primary/user/0"',
        b'{"unit": "x"}',
        b"[" * 15_000,
        b"\xff",
        b'["x"]',
        b'["x", 1, 2, "m", 3, 4, "w", 5]',
        b'["x", "1", 2, "m", 3, 4, "w"]',
        b'["x", 1, 2, null, 3, 4, "w"]',
        b'["x", true, 2, "m", 3, 4, "w"]',
        b'["x", -1, 2, "m", 3, 4, "w"]',
        b'["x", 1.5, 2, "m", 3, 4, "w"]',
        b'["x", 99999999999999999999, 2, "m", 3, 4, "w"]',
        b'["x", NaN, 2, "m", 3, 4, "w"]',
        b'["x", 1, 2, "m", 3, 4, "w", [5]]',
        b'["x", 1, 2, "m", 3, 4, "w", null]',
    ],
)
def test_what_is_no_progress(event: bytes) -> None:
    assert decode_progress(event) is None
