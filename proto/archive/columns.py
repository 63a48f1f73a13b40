"""Numbers and byte strings of many messages side by side, so that they compress well and decode fast.

A column is a byte string: little-endian fixed-width integers one after the other. Owns the packing of
columns; which columns there are is ``messages``' business. FORMAT.md, "Columns".
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from operator import sub

from ..errors import DamagedError

WIDTHS = {"B": 1, "H": 2, "I": 4, "Q": 8, "q": 8}


def pack(code: str, values: Iterable[int]) -> bytes:
    """Integers as a column. ``code`` is an ``array`` type code of WIDTHS. Raises OverflowError."""
    column = values if isinstance(values, array) and values.typecode == code else array(code, values)
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def unpack(code: str, data: object, count: int, name: str) -> Sequence[int]:
    """A column of exactly ``count`` integers. Raises DamagedError."""
    if not isinstance(data, bytes) or len(data) != count * WIDTHS[code]:
        raise DamagedError(f"column {name} does not hold {count} values", reason="metadata")
    column = array(code)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def pack_deltas(values: Sequence[int]) -> bytes:
    """64-bit integers as differences from the one before, modulo 2**64: ordered ones compress well."""
    try:
        return pack("q", map(sub, values, chain((0,), values)))
    except OverflowError:
        return pack("Q", [one & _WRAP for one in map(sub, values, chain((0,), values))])


_EARLIEST, _LATEST = -(1 << 63), (1 << 63) - 1

BEYOND = "its date is none that an archive can hold (1677 to 2262): the nearest one is stored"
"""What is said of a message or file whose time is ``clamped``."""


def clamped(value: int) -> int:
    """The signed 64-bit integer nearest to a value: a file's time may lie beyond all dates of a column."""
    if _EARLIEST <= value <= _LATEST:
        return value
    return _EARLIEST if value < _EARLIEST else _LATEST


def unpack_deltas(data: object, count: int, name: str, *, signed: bool = False) -> list[int]:
    """The inverse of ``pack_deltas``. Raises DamagedError."""
    values = list(accumulate(unpack("q", data, count, name)))
    least = -(1 << 63) if signed else 0
    if values and (min(values) < least or max(values) - least > _WRAP):
        return [((value - least) & _WRAP) + least for value in values]
    return values


def pack_strings(values: Sequence[bytes]) -> list[bytes]:
    """Byte strings as [lengths, bytes]."""
    return [pack("I", map(len, values)), b"".join(values)]


def unpack_strings(data: object, count: int, name: str) -> list[bytes]:
    """The inverse of ``pack_strings``. Raises DamagedError."""
    if not isinstance(data, list) or len(data) != 2 or not isinstance(data[1], bytes):
        raise DamagedError(f"column {name} is not of strings", reason="metadata")
    lengths, text = unpack("I", data[0], count, name), data[1]
    ends = list(accumulate(lengths))
    if (ends[-1] if ends else 0) != len(text):
        raise DamagedError(f"column {name} lies about its lengths", reason="metadata")
    return [text[end - length : end] for end, length in zip(ends, lengths, strict=True)]


_WRAP = (1 << 64) - 1
