"""The index of segments, against a dict."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.records import ArchiveId
from mailhaul.worker.packing.dedup import SegmentIndex

OWN, OTHER, THIRD = (ArchiveId(letter * 16) for letter in (b"o", b"p", b"q"))
DIGESTS = st.lists(st.binary(min_size=16, max_size=16))


@given(DIGESTS)
def test_it_finds_what_was_added_and_nothing_else(digests: list[bytes]) -> None:
    index, known = SegmentIndex(), dict[bytes, int]()
    for offset, digest in enumerate(digests):
        assert index.find(digest) == ((OWN, known[digest]) if digest in known else None)
        if digest not in known:
            index.add(OWN, digest, offset)
            known[digest] = offset
    assert len(index) == len(known)
    assert all(index.find(digest) == (OWN, offset) for digest, offset in known.items())


def test_it_grows() -> None:
    rng = random.Random(1)
    index, known = SegmentIndex(), dict[bytes, int]()
    for number in range(50_000):
        digest = rng.randbytes(16)
        index.add(OWN, digest, number << 40)
        known[digest] = number << 40
    assert len(index) == len(known) == 50_000
    assert all(index.find(digest) == (OWN, offset) for digest, offset in known.items())
    assert all(index.find(rng.randbytes(16)) is None for _ in range(1000))


@given(st.lists(st.tuples(st.sampled_from([OWN, OTHER, THIRD]), DIGESTS), max_size=6))
def test_many_at_a_time_and_of_several_archives(batches: list[tuple[ArchiveId, list[bytes]]]) -> None:
    """Also in between single ones; of digests that come twice either place is right."""
    index, places = SegmentIndex(), dict[bytes, set[tuple[ArchiveId, int]]]()
    for number, (archive, digests) in enumerate(batches):
        start = number << 33
        index.extend(archive, b"".join(digests), range(start, start + len(digests)))
        for offset, digest in enumerate(digests, start):
            places.setdefault(digest, set()).add((archive, offset))
        single = number.to_bytes(16, "big")
        if index.find(single) is None:
            index.add(OWN, single, number)
            places[single] = {(OWN, number)}
    for digest, right in places.items():
        assert index.find(digest) in right


def test_digests_that_begin_alike_are_told_apart() -> None:
    index = SegmentIndex()
    digests = [b"\xff" * 8 + number.to_bytes(8, "big") for number in range(100)]
    for number, digest in enumerate(digests):
        index.add(OWN, digest, number)
    assert [index.find(digest) for digest in digests] == [(OWN, number) for number in range(100)]
    assert index.find(b"\xff" * 16) is None
