"""``mailhaul schedule``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import groupby, islice, takewhile
from operator import attrgetter

import click

from ...proto.errors import EXIT_OK
from ...proto.structs import Record
from ..clock import utc
from ..scheduling.due import due, upcoming
from ..scheduling.entries import Due, Entry, entries, named, requests
from ..service.handled import HandledMoments
from ..service.operations import Operations
from ..service.records import NOT_ENDED, Handled, Operation
from ..serving.serve_lock import is_served
from ..settings import Config
from . import adapters, output
from .configuration import configured
from .options import json_option
from .output import Column, note, say
from .program import Invocation
from .schedule_zone import schedule_zone
from .times import ahead_of

_COUNT = 10

_NEXT = [Column("next", "<"), Column("operation", "<"), Column("entry", "<", extra=True)]
_LAST = [Column("entry", "<"), Column("at", "<"), Column("last", "<")]


class Coming(Record, kw_only=True):
    """An operation that will be put in at a ``moment`` (aware, UTC), as the clock of the zone shows it
    (``local``). ``missed``: it was due while nobody served, and is put in as soon as somebody does."""

    moment: datetime
    local: str
    kind: str
    arguments: tuple[str, ...]
    entries: tuple[str, ...]
    missed: bool = False


@click.command("schedule")
@click.option(
    "--until",
    metavar="T",
    help="All that comes until then: an ISO date or time of the schedule's zone, or as +7d (also h, m, w).",
)
@click.option(
    "--count",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help=f"At most so many operations. Default: {_COUNT}, with --until as many as there are.",
)
@json_option
@click.pass_obj
def command(invocation: Invocation, until: str | None, count: int | None, as_json: bool) -> int:
    """Show what `mailhaul serve` does next by the schedule of the configuration, what of it was done last,
    and what is under way.

    Times are those of the schedule's zone, with their distance from UTC.

    \b
    Example: all of the coming week
      mailhaul schedule --until +7d
    """
    config = configured(invocation)
    zone = schedule_zone(config)
    now = utc(adapters.clock().now())
    end = None if until is None else ahead_of(now, until, zone)
    area = config.staging.path
    known = entries(config.schedule)
    handled = HandledMoments(area).all() if area.joinpath(".mailhaul").is_dir() else {}
    busy = [one for one in Operations(area).in_states(NOT_ENDED) if named(one.request)] if handled else []
    served = area.joinpath(".mailhaul").is_dir() and is_served(area)
    coming = list(_coming(config, known, handled, zone, now, end, count))
    if as_json:
        output.print_json(
            {
                "zone": str(zone),
                "now": now,
                "served": served,
                "next": coming,
                "handled": [
                    {
                        "entry": one.name,
                        "moment": handled[one.name].moment,
                        "local": shown_in(zone, handled[one.name].moment),
                        "passed_over": handled[one.name].passed_over,
                    }
                    for one in known
                    if one.name in handled
                ],
                "under_way": busy,
            }
        )
        return EXIT_OK
    if not known:
        say("there is no schedule: [schedule] of the configuration names no times")
        return EXIT_OK
    _print(coming, known, handled, busy, zone)
    if not served:
        note("nobody serves this staging area: nothing of it is done until `mailhaul serve` runs")
    return EXIT_OK


def shown_in(zone: tzinfo, moment: datetime) -> str:
    """A moment by the clock of a zone: ``Sun 2026-11-29 02:00 +01:00``."""
    local = moment.astimezone(zone)
    return f"{local:%a} {local.isoformat(' ', timespec='minutes')[:16]} {local.isoformat()[-6:]}"


def _coming(
    config: Config,
    known: Sequence[Entry],
    handled: Mapping[str, Handled],
    zone: tzinfo,
    now: datetime,
    end: datetime | None,
    count: int | None,
) -> Iterator[Coming]:
    missed = due([one for one in known if one.name in handled], handled, zone, now)
    if missed:
        yield from _operations(missed, config, zone, missed=True)
    ahead: Iterator[Due] = upcoming(known, zone, now)
    if end is not None:
        ahead = takewhile(lambda one: one.moment <= end, ahead)
    found = (
        one
        for _, together in groupby(ahead, key=attrgetter("moment"))
        for one in _operations(list(together), config, zone)
    )
    yield from islice(found, count or (None if end else _COUNT))


def _operations(
    due_together: Sequence[Due], config: Config, zone: tzinfo, *, missed: bool = False
) -> Iterator[Coming]:
    for one in requests(due_together, config):
        moment = one.due or due_together[0].moment
        yield Coming(
            moment=moment,
            local=shown_in(zone, moment),
            kind=one.kind,
            arguments=one.arguments,
            entries=tuple(sorted(named(one))),
            missed=missed,
        )


def _print(
    coming: Iterable[Coming],
    known: Sequence[Entry],
    handled: Mapping[str, Handled],
    busy: Sequence[Operation],
    zone: tzinfo,
) -> None:
    say(f"times of {zone}")
    say()
    output.print_table(
        _NEXT,
        [
            [
                f"{one.local}{' (missed)' if one.missed else ''}",
                output.shown(" ".join((one.kind, *one.arguments))),
                ", ".join(one.entries),
            ]
            for one in coming
        ],
    )
    say()
    output.print_table(_LAST, [_last_row(one, handled.get(one.name), zone) for one in known])
    for operation in busy:
        asked = operation.request
        words = " ".join((asked.kind, *asked.arguments))
        say(output.shown(f"operation {operation.id} ({words}): {operation.state}"))


def _last_row(entry: Entry, last: Handled | None, zone: tzinfo) -> list[str]:
    times = ", ".join([*map(str, entry.times), *(f"{one} (full)" for one in entry.full)])
    if last is None:
        return [entry.name, times, "never"]
    reason = f", passed over: {last.passed_over}" if last.passed_over else ""
    return [entry.name, times, output.shown(f"{shown_in(zone, last.moment)}{reason}")]
