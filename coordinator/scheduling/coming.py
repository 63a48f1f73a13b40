"""What the schedule puts in next, for people who look ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import groupby, islice, takewhile
from operator import attrgetter

from ...proto.structs import Record
from ..service.records import Handled
from ..settings import Config
from .due import due, upcoming
from .entries import Due, entries, named, requests

_OF_EACH = 2


class Coming(Record, kw_only=True):
    """An operation that will be put in at a ``moment`` (aware, UTC), as the clock of the zone shows it
    (``local``). ``missed``: it was due while nobody served, and is put in as soon as somebody does."""

    moment: datetime
    local: str
    kind: str
    arguments: tuple[str, ...]
    entries: tuple[str, ...]
    missed: bool = False


def varied(ahead: Iterable[Coming], count: int) -> Iterator[Coming]:
    """So many of what comes, and of the same entries two at most: what is due each half hour would hide the
    coming night."""
    seen: Counter[tuple[str, ...]] = Counter()
    for one in ahead:
        seen[one.entries] += 1
        if seen[one.entries] <= _OF_EACH:
            yield one
            count -= 1
        if not count:
            return


def shown_in(zone: tzinfo, moment: datetime) -> str:
    """A moment by the clock of a zone: ``Sun 2026-11-29 02:00 +01:00``."""
    local = moment.astimezone(zone)
    return f"{local:%a} {local.isoformat(' ', timespec='minutes')[:16]} {local.isoformat()[-6:]}"


def coming(
    config: Config,
    handled: Mapping[str, Handled],
    zone: tzinfo,
    now: datetime,
    end: datetime | None = None,
    count: int | None = None,
) -> tuple[Coming, ...]:
    """What was missed, and what comes next: up to a moment, and so many at most; one of both has to be
    given."""
    return tuple(islice(_coming(config, handled, zone, now, end), count))


def _coming(
    config: Config, handled: Mapping[str, Handled], zone: tzinfo, now: datetime, end: datetime | None
) -> Iterator[Coming]:
    known = entries(config.schedule)
    missed = due([entry for entry in known if entry.name in handled], handled, zone, now)
    if missed:
        yield from _operations(missed, config, zone, missed=True)
    ahead: Iterator[Due] = upcoming(known, handled, zone, now)
    if end is not None:
        ahead = takewhile(lambda one: one.moment <= end, ahead)
    for _, together in groupby(ahead, key=attrgetter("moment")):
        yield from _operations(list(together), config, zone)


def _operations(
    due_together: Sequence[Due], config: Config, zone: tzinfo, *, missed: bool = False
) -> Iterator[Coming]:
    for request in requests(due_together, config):
        moment = request.due or due_together[0].moment
        yield Coming(
            moment=moment,
            local=shown_in(zone, moment),
            kind=request.kind,
            arguments=request.arguments,
            entries=tuple(sorted(named(request))),
            missed=missed,
        )
