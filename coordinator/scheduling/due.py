"""What is due by now, of what has been handled; what comes next. Pure.

Of the moments of an entry that have passed since the one that was handled last comes one operation, however
many they are: a stop of a month, or a clock that jumped ahead by a year, is made up for by one of each entry.
While the clock stands before what was handled (it was put back), nothing is due again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from heapq import merge

from ..service.records import Handled
from .entries import Due, Entry
from .timings import last_moment, moments, next_moment

MOST_AHEAD = timedelta(days=1)
"""What was handled lies no further ahead than this, unless the clock was wrong then."""


def begun(entry_names: Sequence[str], handled: Mapping[str, Handled], now: datetime) -> dict[str, Handled]:
    """Entries of which nothing is on record: what passed before they were there is not missed. Also those
    that were handled in a future that is none, when the clock was ahead by more than a day: without this
    nothing would happen until then."""
    return {
        name: Handled(moment=now, full=now)
        for name in entry_names
        if name not in handled or handled[name].moment > now + MOST_AHEAD
    }


def due(
    entries: Sequence[Entry], handled: Mapping[str, Handled], zone: tzinfo, now: datetime
) -> tuple[Due, ...]:
    """What of the entries that have begun is due: each at the last of its moments that has come."""
    found = []
    for entry in entries:
        known = handled[entry.name]
        moment = last_moment(entry.all_times, zone, now)
        if moment is None or moment <= known.moment:
            continue
        full = last_moment(entry.full, zone, now)
        found.append(Due(entry=entry, moment=moment, full=full is not None and full > known.full))
    return tuple(found)


def next_due(
    entries: Sequence[Entry], handled: Mapping[str, Handled], zone: tzinfo, now: datetime
) -> datetime | None:
    """When anything is due next; not before now."""
    found = (next_moment(entry.all_times, zone, max(handled[entry.name].moment, now)) for entry in entries)
    return min((moment for moment in found if moment is not None), default=None)


def upcoming(
    entries: Sequence[Entry], handled: Mapping[str, Handled], zone: tzinfo, after: datetime
) -> Iterator[Due]:
    """What is due after a moment, in order, if all that is due until then is put in. Without end."""
    return merge(
        *(_of_entry(entry, handled.get(entry.name), zone, after) for entry in entries),
        key=lambda one: one.moment,
    )


def _of_entry(entry: Entry, known: Handled | None, zone: tzinfo, after: datetime) -> Iterator[Due]:
    # What came by then is put in first: its full backup counts.
    before = last_moment(entry.all_times, zone, after)
    done = after if known is None or (before and before > known.moment) else known.full
    for moment in moments(entry.all_times, zone, max(after, known.moment) if known else after):
        newest = last_moment(entry.full, zone, moment)
        full = newest is not None and newest > done
        yield Due(entry=entry, moment=moment, full=full)
        done = moment if full else done
