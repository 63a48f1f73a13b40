"""Blocks are read once where it is known what is to be read; what comes out of them is right in any case."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive.demand import MOST_STRETCHES, Demand
from mailhaul.proto.archive.framing import BLOCK_BYTES
from mailhaul.proto.archive.kept_blocks import KeptBlocks
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.tests.archives import MemoryFile, MemorySink, archive_header

BLOCKS = 6
DATA = random.Random(5).randbytes(BLOCKS * BLOCK_BYTES)


def made() -> ArchiveReader:
    sink = MemorySink()
    archive = ArchiveWriter(sink, archive_header())
    archive.append(DATA)
    archive.finish()
    return open_sealed(MemoryFile(bytes(sink.data)))


READER = made()
Stretches = list[tuple[int, int]]

offsets = st.integers(0, len(DATA) - 1)
stretches = st.lists(st.tuples(offsets, st.integers(1, 2 * BLOCK_BYTES)), max_size=24).map(
    lambda found: [(begin, min(begin + length, len(DATA))) for begin, length in found]
)


def demanded(some: Stretches) -> Demand:
    demand = Demand()
    for begin, end in some:
        demand.add(READER, begin, end)
    return demand


def read(blocks: KeptBlocks, begin: int, end: int) -> bytes:
    found = b""
    while begin < end:
        chunk = blocks.chunk(READER, begin, end - begin)
        found += chunk
        begin += len(chunk)
    return found


@given(stretches, st.integers(0, 2 * BLOCK_BYTES))
def test_what_is_read_as_it_was_told_is_read_once(some: Stretches, whole_bytes: int) -> None:
    blocks = KeptBlocks(whole_bytes, len(DATA), demand := demanded(some))
    assert [read(blocks, *one) for one in some] == [DATA[begin:end] for begin, end in some]
    touched = {
        number for begin, end in some for number in range(begin // BLOCK_BYTES, -(-end // BLOCK_BYTES))
    }
    assert blocks.read == len(touched)
    assert len(demand) == 0
    assert not blocks._whole
    assert not blocks._rests
    assert (blocks._whole_size, blocks._rest_size) == (0, 0)


@given(stretches, stretches, st.integers(0, 2 * BLOCK_BYTES), st.integers(0, BLOCK_BYTES))
def test_whatever_is_read_instead_is_right(
    told: Stretches, some: Stretches, whole_bytes: int, rest_bytes: int
) -> None:
    blocks = KeptBlocks(whole_bytes, rest_bytes, demanded(told))
    for begin, end in some:
        assert read(blocks, begin, end) == DATA[begin:end]
        assert blocks._rest_size <= rest_bytes
        assert blocks._whole_size <= max(whole_bytes, BLOCK_BYTES)


def test_without_a_demand_the_latest_are_kept() -> None:
    blocks = KeptBlocks(2 * BLOCK_BYTES, 0, None)
    for number in (0, 1, 0, 2, 0, 1):
        read(blocks, number * BLOCK_BYTES, number * BLOCK_BYTES + 9)
    assert blocks.read == 4


@pytest.mark.parametrize("stretch", [(0, 1 << 62), (1 << 62, 1 << 63), (len(DATA), len(DATA) + 9), (9, 3)])
def test_stretches_that_can_not_be_do_no_harm(stretch: tuple[int, int]) -> None:
    assert len(demanded([stretch])) in (0, BLOCKS)


def test_it_does_not_remember_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    demand = demanded([])
    assert demand._room == MOST_STRETCHES
    demand._room = 2
    for begin in range(0, len(DATA), BLOCK_BYTES):
        demand.add(READER, begin, begin + 1)
    assert len(demand) == 2
