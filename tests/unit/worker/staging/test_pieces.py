"""Reading ahead: which pieces of a remote file are asked for, kept and given up."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.worker.staging.pieces import PIECE_BYTES, Pieces

DATA = random.Random(3).randbytes(12 * PIECE_BYTES + 12_345)


def read(pieces: Pieces, offset: int, length: int) -> tuple[bytes | None, list[int]]:
    """The stretch, and the pieces that had to be fetched for it."""
    pieces.need(offset, length)
    asked = pieces.to_ask()
    for at, size in asked:
        pieces.asked(at)
        assert pieces.arrived(at, DATA[at : at + size])
    return pieces.read(offset, length), [at // PIECE_BYTES for at, _ in asked]


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(1, 9 << 20)), max_size=12))
def test_any_reads(reads: list[tuple[int, int]]) -> None:
    pieces = Pieces(len(DATA))
    for offset, length in reads:
        length = min(length, len(DATA) - offset)
        assert read(pieces, offset, length)[0] == DATA[offset : offset + length]


def test_going_forward_it_reads_ahead_and_asks_for_nothing_twice() -> None:
    pieces = Pieces(len(DATA))
    fetched = []
    for offset in range(0, len(DATA), 100_000):
        length = min(100_000, len(DATA) - offset)
        data, asked = read(pieces, offset, length)
        assert data == DATA[offset : offset + length]
        fetched += asked
    assert fetched == list(range(13))


def test_jumping_about_it_does_not_read_ahead() -> None:
    pieces = Pieces(len(DATA))
    assert read(pieces, 8 * PIECE_BYTES, 10)[1] == [8]
    assert read(pieces, 3 * PIECE_BYTES, 10)[1] == [3]
    assert read(pieces, 3 * PIECE_BYTES + 10, 10)[1] == [4, 5, 6]


def test_only_what_was_asked_for_is_taken() -> None:
    pieces = Pieces(len(DATA))
    pieces.need(0, 10)
    assert pieces.to_ask() == [
        (0, PIECE_BYTES),
        (PIECE_BYTES, PIECE_BYTES),
        (2 * PIECE_BYTES, PIECE_BYTES),
        (3 * PIECE_BYTES, PIECE_BYTES),
    ]
    assert not pieces.arrived(0, DATA[:PIECE_BYTES])
    for at, _ in pieces.to_ask():
        pieces.asked(at)
    assert pieces.to_ask() == []
    assert not pieces.arrived(0, DATA[:100])
    assert not pieces.arrived(5, DATA[5 : 5 + PIECE_BYTES])
    assert not pieces.arrived(7 * PIECE_BYTES, DATA[:PIECE_BYTES])
    assert pieces.read(0, 10) is None
    pieces.lost()
    assert len(pieces.to_ask()) == 4
    pieces.asked(0)
    assert pieces.arrived(0, DATA[:PIECE_BYTES])
    assert not pieces.arrived(0, DATA[:PIECE_BYTES])
    assert pieces.read(0, 10) == DATA[:10]


def test_little_is_kept() -> None:
    pieces = Pieces(len(DATA))
    for number in (9, 0, 5, 11, 2, 7, 4):
        read(pieces, number * PIECE_BYTES, 10)
    assert len(pieces._held) <= 4
