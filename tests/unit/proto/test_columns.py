"""Columns: numbers and strings side by side; a column that lies about itself is damage."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import columns
from mailhaul.proto.errors import DamagedError

RANGES = {"B": 8, "H": 16, "I": 32, "Q": 64}


@given(st.sampled_from(sorted(RANGES)).flatmap(lambda code: st.tuples(st.just(code), numbers(RANGES[code]))))
def test_numbers_come_back(column: tuple[str, list[int]]) -> None:
    code, values = column
    packed = columns.pack(code, values)
    assert len(packed) == columns.WIDTHS[code] * len(values)
    assert list(columns.unpack(code, packed, len(values), "x")) == values


def numbers(bits: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, (1 << bits) - 1))


def test_columns_are_little_endian() -> None:
    assert columns.pack("I", [1, 0x01020304]).hex() == "0100000004030201"
    assert columns.pack("I", array("I", [1])).hex() == "01000000"
    assert columns.pack_deltas([5, 4, 6]).hex() == "0500000000000000ffffffffffffffff0200000000000000"


@given(numbers(64))
def test_differences_come_back(values: list[int]) -> None:
    assert columns.unpack_deltas(columns.pack_deltas(values), len(values), "x") == values


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1)))
def test_signed_differences_come_back(values: list[int]) -> None:
    assert columns.unpack_deltas(columns.pack_deltas(values), len(values), "x", signed=True) == values


@given(st.integers())
def test_a_number_beyond_64_bits_becomes_the_nearest_that_fits(value: int) -> None:
    near = columns.clamped(value)
    assert -(1 << 63) <= near < 1 << 63
    assert near == value or abs(value) >= 1 << 63


@given(st.lists(st.binary(max_size=20)))
def test_strings_come_back(values: list[bytes]) -> None:
    assert columns.unpack_strings(columns.pack_strings(values), len(values), "x") == values


@pytest.mark.parametrize("data", [None, "text", 7, [], b"123", b"12345", bytearray(4)])
def test_a_column_of_another_length_or_kind_is_damage(data: object) -> None:
    with pytest.raises(DamagedError):
        columns.unpack("I", data, 1, "x")


def test_a_claim_of_more_than_is_there_allocates_nothing() -> None:
    with pytest.raises(DamagedError):
        columns.unpack("Q", b"", 1 << 62, "x")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [columns.pack("I", [1])],
        [columns.pack("I", [1]), "x"],
        [columns.pack("I", [1]), b"xy"],
        [columns.pack("I", [3]), b"xy"],
        [columns.pack("I", []), b""],
        [columns.pack("I", [1, 1]), b"xy"],
        (columns.pack("I", [2]), b"xy"),
    ],
)
def test_strings_that_lie_about_their_lengths_are_damage(data: object) -> None:
    with pytest.raises(DamagedError):
        columns.unpack_strings(data, 1, "x")
