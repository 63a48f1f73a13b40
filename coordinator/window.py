"""Backup windows: the times of the day at which work may be begun."""

from __future__ import annotations

import math
import re
import time
from itertools import count

from ..proto.structs import Record

_SPAN = re.compile(r"([0-9]{1,2}):([0-9]{2}) ?- ?([0-9]{1,2}):([0-9]{2})")
_DAY_MINUTES = 24 * 60


class Window(Record):
    """One or more spans of the day, each as minutes after midnight: from the first, up to the second.

    They are read off this host's clock on the wall, whatever that does: a span that is left out in the night
    when clocks are put forward stays shut that night, one that comes twice when they are put back opens
    twice. Moments are seconds since 1970, as ``Clock.now`` gives them.
    """

    spans: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read ``22:00-06:00``, or several such spans with commas between; one that ends before it begins
        goes across midnight. Raises ValueError, which says which span is wrong and how."""
        return cls(tuple(_parse_span(part.strip()) for part in text.split(",")))

    def __str__(self) -> str:
        return ", ".join(f"{_clock(start)}-{_clock(end)}" for start, end in self.spans)

    def is_open(self, now: float) -> bool:
        """Whether work may be begun now."""
        local = time.localtime(now)
        minute = local.tm_hour * 60 + local.tm_min
        return any(_holds(start, end, minute) for start, end in self.spans)

    def opens_at(self, now: float) -> float:
        """The first moment from now on at which it is open: now itself, or the begin of a minute."""
        if self.is_open(now):
            return now
        # Looked up minute by minute rather than computed: clocks that are put forward or back need no
        # thought then, and a day has but 1,440 minutes.
        minute = math.floor(now / 60) + 1
        return next(at for at in (60.0 * one for one in count(minute)) if self.is_open(at))


def _parse_span(text: str) -> tuple[int, int]:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no span such as 22:00-06:00")
    start, end = _minute(found[1], found[2]), _minute(found[3], found[4])
    if start == _DAY_MINUTES:
        raise ValueError(f"{text!r} begins at 24:00; the day begins at 00:00")
    if start == end:
        raise ValueError(f"{text!r} begins when it ends; the whole day is 00:00-24:00")
    return start, end


def _minute(hour: str, minute: str) -> int:
    after_midnight = int(hour) * 60 + int(minute)
    if int(minute) > 59 or after_midnight > _DAY_MINUTES:
        raise ValueError(f"{hour}:{minute} is no time of the day")
    return after_midnight


def _holds(start: int, end: int, minute: int) -> bool:
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
