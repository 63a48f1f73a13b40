"""The index of segments, against a dict."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.worker.dedup import SegmentIndex


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_it_finds_what_was_added_and_nothing_else(digests: list[bytes]) -> None:
    index, known = SegmentIndex(), dict[bytes, int]()
    for offset, digest in enumerate(digests):
        assert index.find(digest) == known.get(digest)
        if digest not in known:
            index.add(digest, offset)
            known[digest] = offset
    assert len(index) == len(known)
    assert all(index.find(digest) == offset for digest, offset in known.items())


def test_it_grows() -> None:
    rng = random.Random(1)
    index, known = SegmentIndex(), dict[bytes, int]()
    for number in range(20_000):
        digest = rng.randbytes(16)
        index.add(digest, number << 40)
        known[digest] = number << 40
    assert len(index) == len(known) == 20_000
    assert all(index.find(digest) == offset for digest, offset in known.items())
    assert all(index.find(rng.randbytes(16)) is None for _ in range(1000))


def test_many_at_a_time() -> None:
    index, digests = SegmentIndex(), [bytes([number]) * 16 for number in range(100)]
    index.extend(b"".join(digests), range(7, 107))
    assert [index.find(digest) for digest in digests] == list(range(7, 107))


def test_digests_that_begin_alike_are_told_apart() -> None:
    """They share a slot, across the end of the table too."""
    index = SegmentIndex()
    digests = [b"\xff" * 8 + number.to_bytes(8, "big") for number in range(100)]
    for number, digest in enumerate(digests):
        index.add(digest, number)
    assert [index.find(digest) for digest in digests] == list(range(100))
    assert index.find(b"\xff" * 16) is None
