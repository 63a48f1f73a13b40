"""The history of a mailbox, drawn as small bars: what came upwards, what went downwards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import sqrt

from ...proto.records import RunId
from ...proto.structs import Record
from ..browsing.chronicle import Entry

UP = 48
DOWN = 32
_STEPS = (12, 24)
_FEW = 40
_LEAST = 2


class Bar(Record, kw_only=True):
    """A version at ``x``, which begins with ``run``: heights in pixels, 0 for nothing. ``unknown``: it can't
    be said any more what came and went. ``there``: the mailbox can be looked at as of then."""

    run: RunId
    started: datetime | None
    x: int
    came: int
    went: int
    entry: Entry
    unknown: bool
    there: bool


class Bars(Record, kw_only=True):
    """The newest versions, as many as are drawn, one each ``step`` pixels; ``earlier`` ones are left out."""

    bars: tuple[Bar, ...]
    step: int
    width: int
    earlier: int


def bars_of(history: Sequence[Entry], most: int) -> Bars:
    """The bars of a history, oldest first. Heights go with the square root: one message is seen beside a
    thousand."""
    drawn = history[-most:]
    step = _STEPS[len(drawn) <= _FEW]
    top = max((max(entry.came, entry.went) for entry in drawn), default=0)
    bars = tuple(
        Bar(
            run=one.run,
            started=one.started,
            x=number * step,
            came=_height(one.came, top, UP),
            went=_height(one.went, top, DOWN),
            entry=one,
            unknown=one.came < 0,
            there=not one.what.startswith("departed"),
        )
        for number, one in enumerate(drawn)
    )
    return Bars(bars=bars, step=step, width=max(1, len(bars)) * step, earlier=len(history) - len(drawn))


def _height(count: int, top: int, most: int) -> int:
    return max(_LEAST, round(most * sqrt(count / top))) if count > 0 else 0
