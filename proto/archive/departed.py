"""The mailboxes that are gone as of a run: DEPARTED frames, which stand twice. FORMAT.md, "DEPARTED"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import msgpack

from ..errors import DamagedError
from ..records import Departed, RunId
from . import claims

MOST_DEPARTED = 1 << 18
"""Mailboxes that one archive may name as gone: nothing else bounds their number."""

_PART_BYTES = 1 << 20


def encode(departed: Iterable[Departed]) -> Iterator[bytes]:
    """The payloads of as many frames as they take, in order; none if nobody has departed."""
    rows: list[list[str]] = []
    weight = 0
    for one in departed:
        rows.append([one.user, one.reason, one.detail, one.run])
        weight += 16 + 4 * sum(map(len, rows[-1]))
        if weight >= _PART_BYTES:
            yield _packed(rows)
            rows, weight = [], 0
    if rows:
        yield _packed(rows)


def decode(payload: bytes) -> tuple[Departed, ...]:
    """What one frame tells. Raises DamagedError if it contradicts itself."""
    rows = claims.rows(claims.unpack_map(payload).get("departed"))
    if len(rows) > MOST_DEPARTED:
        raise DamagedError(f"more than {MOST_DEPARTED} mailboxes are named as gone", reason="metadata")
    return tuple(map(_departed, rows))


def _departed(row: object) -> Departed:
    values = claims.rows(row)
    if len(values) != 4:
        raise DamagedError(f"not a departure: {claims.shown(row)}", reason="metadata")
    user, reason, detail, run = values
    return Departed(claims.name(user), claims.text(reason), claims.text(detail), RunId(claims.text(run)))


def _packed(rows: list[list[str]]) -> bytes:
    return cast(bytes, msgpack.packb({"departed": rows}, unicode_errors="surrogateescape"))
