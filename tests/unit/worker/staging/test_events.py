"""Progress from other hosts is checked before it counts."""

from __future__ import annotations

import json

import pytest

from mailhaul.proto.records import Progress
from mailhaul.worker.staging.events import decode_progress

PROGRESS = Progress("primary/user/0", 3, 4, "anna", 2, 1, "the staging area is full")


def test_there_and_back() -> None:
    assert decode_progress(json.dumps(PROGRESS).encode()) == PROGRESS


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
    ],
)
def test_what_is_no_progress(event: bytes) -> None:
    assert decode_progress(event) is None
