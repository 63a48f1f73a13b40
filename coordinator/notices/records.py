"""What is said: events, notices, and what became of a cause."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, get_args

from ...proto.plain_text import shown
from ...proto.structs import Record, field

Event = Literal[
    "started",
    "finished",
    "skipped",
    "failed",
    "alarm",
    "tape-wanted",
    "drill-failed",
    "space",
    "operation-died",
    "operation-resumed",
    "passed-over",
    "key-overdue",
    "proof-old",
    "erasure-due",
    "switch-failed",
    "digest",
    "test",
]
"""``skipped`` is a run that finished and left something out, ``passed-over`` what the schedule did not put
in, as the one before was not done. Receivers are configured by these words."""

EVENTS: tuple[Event, ...] = get_args(Event)

PASSING: frozenset[Event] = frozenset(("started", "finished", "operation-resumed", "digest", "test"))
"""Events that are said once for each cause. The others last, until they are over or somebody has
acknowledged them."""

URGENT: frozenset[Event] = frozenset(EVENTS) - PASSING
"""Events that want a person: what receivers get that name no events, together with the digest."""

Kind = Literal["new", "again", "over"]
"""How something is said: for the first time, as a reminder, or that it is over."""

_MOST_CAUSE = 300
_MOST_SUBJECT = 150
_MOST_LINE = 1000
_MOST_LINES = 400


class Notice(Record, kw_only=True):
    """Something that people should hear of.

    ``cause`` tells what is the same matter, and is the same text whenever it is raised again. ``subject`` and
    ``lines`` are for people, ``facts`` (JSON values, no secrets, nothing of anybody's mail) for programs.
    Whatever a name holds, it adds no line: see ``tidy``.
    """

    event: Event
    cause: str
    subject: str
    lines: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


class Standing(Record, kw_only=True):
    """What became of a cause. Times are aware UTC.

    It was raised ``times`` times, ``first`` and ``last`` then; it is ``over`` since then, or lasts (None).
    ``heard`` is what people were told last, that it is so or that it is over (None: nothing yet), ``said``
    when they were told last that it is so. ``returns`` counts how often they were told that it came back
    soon after it was over.
    """

    notice: Notice
    first: datetime
    last: datetime
    times: int = 1
    said: datetime | None = None
    heard: Literal["so", "over"] | None = None
    returns: int = 0
    acknowledged: datetime | None = None
    acknowledged_by: str = ""
    over: datetime | None = None


class Saying(Record, kw_only=True):
    """Something that is to be said to all who receive its event: a notice as it was ``made`` at that moment,
    for the ``times``-th time since ``first``. ``id`` is never given twice (0: not on record yet)."""

    id: int = 0
    kind: Kind
    notice: Notice
    made: datetime
    first: datetime
    times: int


def tidy_cause(cause: str) -> str:
    """A cause as it is on record."""
    return _line(cause, _MOST_CAUSE)


def tidy(notice: Notice) -> Notice:
    """A notice whose texts are printable lines of bounded length: a line end in a name is shown, not
    followed."""
    lines = [_line(line, _MOST_LINE) for line in notice.lines[:_MOST_LINES]]
    if len(notice.lines) > _MOST_LINES:
        lines.append(f"… and {len(notice.lines) - _MOST_LINES:,} more lines")
    return Notice(
        event=notice.event,
        cause=tidy_cause(notice.cause),
        subject=_line(notice.subject, _MOST_SUBJECT),
        lines=tuple(lines),
        facts=notice.facts,
    )


def _line(text: str, most: int) -> str:
    line = shown(text)
    return line if len(line) <= most else line[: most - 1] + "…"
