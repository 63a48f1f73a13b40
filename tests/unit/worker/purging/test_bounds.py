"""Stretches: merged in bounded memory, widened over small gaps, cut by holes. Compared with plain sets."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.records import ArchiveId
from mailhaul.worker.archives.stretches import without
from mailhaul.worker.purging import bounds as module
from mailhaul.worker.purging.bounds import Stretches, as_stretches, joined, merged, pairs, unpacked, widened

_bounds = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 30))).map(
    lambda found: array("Q", [end for begin, length in found for end in (begin, begin + length)])
)


def covered(found: Iterable[tuple[int, int]]) -> set[int]:
    return {at for begin, end in found for at in range(begin, end)}


@given(_bounds)
def test_merged_is_the_same_in_order(bounds: array[int]) -> None:
    found = merged(bounds)
    assert covered(pairs(found)) == covered(pairs(bounds))
    assert all(a < b for a, b in pairwise(found)), "empty, touching or out of order"


@given(st.lists(_bounds))
def test_gathered_in_parts_is_the_same(parts: list[array[int]]) -> None:
    gathered = Stretches()
    for part in parts:
        gathered.add(part)
    assert covered(pairs(gathered.take())) == set().union(*(covered(pairs(part)) for part in parts))


def test_memory_is_that_of_what_remains() -> None:
    gathered = Stretches()
    for begin in range(0, 1_000_000, 10):
        gathered.add(array("Q", (begin, begin + 10)))
        assert len(gathered._bounds) <= 2 * module._FEWEST + 2
    assert list(gathered.take()) == [0, 1_000_000]


@given(_bounds, st.integers(0, 20))
def test_widened_closes_gaps(bounds: array[int], gap: int) -> None:
    plain = merged(bounds)
    found = widened(plain, gap)
    assert covered(pairs(plain)) <= covered(pairs(found))
    gaps = [begin - end for end, begin in zip(found[1::2], found[2::2], strict=False)]
    assert all(one >= max(gap, 1) for one in gaps)
    assert widened(found, gap) == found


@given(_bounds, _bounds)
def test_without_holes(bounds: array[int], holes: array[int]) -> None:
    plain, missing = merged(bounds), merged(holes)
    found = list(without(as_stretches(plain), as_stretches(missing)))
    assert covered((stretch.offset, stretch.offset + stretch.length) for stretch in found) == (
        covered(pairs(plain)) - covered(pairs(missing))
    )
    assert all(one.length > 0 for one in found)


def test_parts_of_the_work_are_put_together() -> None:
    a, b = ArchiveId(b"a" * 16), ArchiveId(b"b" * 16)
    found = joined(
        [
            {a: array("Q", (0, 10)).tobytes()},
            {a: array("Q", (5, 20, 30, 40)).tobytes(), b: array("Q", (1, 2)).tobytes()},
        ]
    )
    assert {archive: list(unpacked(bounds)) for archive, bounds in found.items()} == {
        a: [0, 20, 30, 40],
        b: [1, 2],
    }
