"""Times as a postmaster writes them: ``02:00``, ``sun 02:00``, ``mon-fri 22:30``, or a cron expression; and
which moments they stand for. Pure.

A time is what a clock on the wall shows, to the minute. Clocks are put forward and back, so:

- What the clock shows twice counts once, the first time.
- What it does not show at all, as it is put forward, is due when it has been put forward.
- Times that come to stand for the same moment by that count once.

The moments of a time are those of the minutes it names, in their order: a later minute never comes before an
earlier one, and both directions of looking (``next_moment``, ``last_moment``) rely on that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from .settings import Timing

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONG_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_NUMBERS = {name: number for names in (_DAYS, _LONG_DAYS) for number, name in enumerate(names)}
_PLAIN = re.compile(r"(?:(?P<days>[a-z,-]+) +)?(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})")
_CRON_FIELDS = 5

_SOME_DAY = datetime(2000, 1, 1)
_MOST_SHIFT = timedelta(hours=25)
"""By no more than this a clock was ever put back or forward: a day, where the date line was moved."""


def parse(text: str) -> Timing:
    """A time as it is written in the configuration. Raises ValueError, which says what is wrong with it."""
    words = " ".join(text.lower().split())
    if found := _PLAIN.fullmatch(words):
        hour, minute = int(found["hour"]), int(found["minute"])
        if hour > 23 or minute > 59:
            raise ValueError(f"{found['hour']}:{found['minute']} is no time of the day")
        return Timing(text, f"{minute} {hour} * * {_days(found['days'] or '')}")
    if len(words.split()) != _CRON_FIELDS:
        raise ValueError("neither a time of the day, nor the five fields of a cron expression")
    try:
        next(CronSim(words, _SOME_DAY))
    except CronSimError as error:
        raise ValueError(f"as a cron expression: {str(error).lower()}") from None
    except StopIteration:
        raise ValueError("as a cron expression: there is no such day") from None
    return Timing(text, words)


def next_moment(timings: Iterable[Timing], zone: tzinfo, after: datetime) -> datetime | None:
    """The first moment of any of these times after another one. None without any time. In UTC."""
    found = (_next(timing, zone, after) for timing in timings)
    return min((moment for moment in found if moment is not None), default=None)


def last_moment(timings: Iterable[Timing], zone: tzinfo, until: datetime) -> datetime | None:
    """The last moment of any of these times up to another one, which may be it. None without any time. In
    UTC."""
    found = (_last(timing, zone, until) for timing in timings)
    return max((moment for moment in found if moment is not None), default=None)


def moments(timings: Sequence[Timing], zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """All moments after another one, in their order, each once. Without end, as far as the calendar goes."""
    while (found := next_moment(timings, zone, after)) is not None:
        yield found
        after = found


def _next(timing: Timing, zone: tzinfo, after: datetime) -> datetime | None:
    # No minute up to the one that is shown then stands for a later moment.
    shown = after.astimezone(zone).replace(tzinfo=None)
    return next((at for at in _shown(CronSim(timing.cron, shown), zone) if at > after), None)


def _last(timing: Timing, zone: tzinfo, until: datetime) -> datetime | None:
    # While the clock shows something for the second time, it has shown later minutes already.
    shown = until.astimezone(zone).replace(tzinfo=None) + _MOST_SHIFT
    return next((at for at in _shown(CronSim(timing.cron, shown, reverse=True), zone) if at <= until), None)


def _shown(minutes: Iterable[datetime], zone: tzinfo) -> Iterator[datetime]:
    return (_moment(minute, zone) for minute in minutes)


def _moment(shown: datetime, zone: tzinfo) -> datetime:
    """The first moment at which the clock of a zone shows this, or something later, as it is put forward."""
    first = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == shown:
        return first
    # The clock skips this. By its time from before it is already put forward, by that of afterwards not yet.
    before, behind = sorted((first, shown.replace(tzinfo=zone, fold=1).astimezone(UTC)))
    while behind - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(behind - before) // timedelta(seconds=2))
        if middle.astimezone(zone).replace(tzinfo=None) < shown:
            before = middle
        else:
            behind = middle
    return behind


def _days(text: str) -> str:
    """Days of the week as the last field of a cron expression."""
    if not text:
        return "*"
    chosen: set[int] = set()
    for span in text.split(","):
        first, dash, last = span.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        chosen.update((begin + one) % 7 for one in range((end - begin) % 7 + 1))
    return ",".join(map(str, sorted(chosen)))


def _day(name: str) -> int:
    if name not in _NUMBERS:
        raise ValueError(f"{name!r} is no day: expected one of {', '.join(_DAYS)}")
    return _NUMBERS[name]
