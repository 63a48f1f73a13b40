"""What the messages of a MESSAGES frame can be found by, by columns: the SEARCH frame behind it.

``TermsColumns`` gathers terms and encodes them; ``decode`` gives them back. Nothing but searching needs
these frames. FORMAT.md, "SEARCH".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import cast

import msgpack

from ..errors import DamagedError
from ..records import Terms
from . import claims
from .messages import MOST_MESSAGES

MOST_BYTES = {
    "sender": 200,
    "recipients": 600,
    "subject": 300,
    "message_id": 200,
    "date": 60,
    "attachments": 600,
}
"""What is kept of each term of a message: so a frame of any messages fits its limit."""

_LIMITS = tuple(MOST_BYTES[name] for name in Terms._fields)


class TermsColumns:
    """The terms gathered since the last ``take``."""

    def __init__(self) -> None:
        self._rows: list[Terms] = []

    def add(self, terms: Terms) -> None:
        """Append the terms of a message; each is cut off at its limit."""
        self._rows.append(terms)

    def extend(self, rows: Iterable[Terms]) -> None:
        """Append those of several messages."""
        self._rows.extend(rows)

    def take(self) -> bytes:
        """The encoded columns; empties the gatherer."""
        row: dict[str, object] = {"n": len(self._rows)}
        for name, limit, values in zip(Terms._fields, _LIMITS, zip(*self._rows, strict=True), strict=False):
            row[name] = _lines(values, limit) if any(values) else None
        self._rows = []
        return cast(bytes, msgpack.packb(row))


LOST = cast(bytes, msgpack.packb({"n": 0}))
"""The payload that stands for terms that were lost."""


class TermsRows:
    """The payload of a SEARCH frame. Raises DamagedError if it contradicts itself."""

    def __init__(self, payload: bytes) -> None:
        row = claims.unpack_map(payload)
        count = claims.number(row.get("n"))
        if count > MOST_MESSAGES:
            raise DamagedError(f"a frame of {count} messages is not possible", reason="metadata")
        self._count = count
        self._columns: list[list[bytes]] = []
        for name in Terms._fields:
            value = row.get(name)
            lines = [b""] * count if value is None else claims.octets(value).split(b"\n")
            if len(lines) != count:
                raise DamagedError(f"column {name} does not hold {count} lines", reason="metadata")
            self._columns.append(lines)

    def __len__(self) -> int:
        """How many messages it tells of; none if it was lost."""
        return self._count

    def some(self, first: int, end: int) -> list[Terms]:
        """The terms of the messages from row ``first`` on, up to ``end``."""
        return list(map(_terms, zip(*(lines[first:end] for lines in self._columns), strict=True)))


def decode(payload: bytes) -> list[Terms]:
    """The terms of the messages of a SEARCH frame; none if they were lost. Raises DamagedError if it
    contradicts itself."""
    rows = TermsRows(payload)
    return rows.some(0, len(rows))


_terms = partial(tuple.__new__, Terms)
"""Terms of a tuple: ``Terms`` itself looks at each of its arguments by name, which takes several times as
long."""


def _lines(values: tuple[bytes, ...], limit: int) -> bytes:
    """Values as lines. They compress better than with their lengths beside them, and can be searched as they
    are."""
    lines = b"\n".join([one[:limit] for one in values])
    if lines.count(b"\n") >= len(values):
        lines = b"\n".join([one[:limit].replace(b"\n", b" ") for one in values])
    return lines
