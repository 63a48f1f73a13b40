"""Payloads and columns, after FORMAT.md, *Conventions* and *Columns*. Imports nothing of the product."""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import Any

import msgpack

ONE_MORE = 1 << 64
_CODES = {2: "H", 4: "I", 8: "Q"}


class Refused(Exception):
    """This is not what a writer wrote, or a later version wrote it."""


def unpacked(payload: bytes) -> dict[str, Any]:
    """The one map of a payload."""

    def pairs(items: list[tuple[Any, Any]]) -> dict[Any, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise Refused("a key twice")
        return found

    def extension(code: int, data: bytes) -> None:
        raise Refused(f"an extension type: {code}")

    try:
        value = msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=False,
            unicode_errors="surrogateescape",
            object_pairs_hook=pairs,
            ext_hook=extension,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise Refused(f"no msgpack: {error}") from error
    if not isinstance(value, dict):
        raise Refused("no map")
    return value


def numbers(data: Any, width: int, count: int | None = None) -> list[int]:
    """A column of ``width`` bytes each."""
    if not isinstance(data, bytes) or len(data) % width or (count is not None and len(data) != count * width):
        raise Refused("a column of another length")
    return list(struct.unpack(f"<{len(data) // width}{_CODES[width]}", data))


def deltas(data: Any, count: int | None = None, *, signed: bool = False) -> list[int]:
    """A delta column."""
    sums = [value % ONE_MORE for value in accumulate(numbers(data, 8, count))]
    return [value - ONE_MORE if signed and value >> 63 else value for value in sums]


def strings(column: Any, count: int) -> list[bytes]:
    """A string column."""
    if not isinstance(column, list) or len(column) != 2 or not isinstance(column[1], bytes):
        raise Refused("no string column")
    ends = list(accumulate(numbers(column[0], 4, count), initial=0))
    if ends[-1] != len(column[1]):
        raise Refused("the lengths do not add up to the bytes")
    return [column[1][ends[row] : ends[row + 1]] for row in range(count)]
