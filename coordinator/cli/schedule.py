"""``mailhaul schedule``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo

import click

from ...proto.errors import EXIT_OK
from ..clock import utc
from ..scheduling.coming import Coming, coming, shown_in, varied
from ..scheduling.entries import Entry, entries, named
from ..scheduling.timings import last_moment, next_moment
from ..service.database import place
from ..service.handled import HandledMoments
from ..service.operations import Operations
from ..service.records import NOT_ENDED, Handled, Operation
from ..serving.serve_lock import is_served
from . import adapters, output
from .configuration import configured
from .operation_lines import called
from .options import json_option
from .output import Column, note, say
from .program import Invocation
from .schedule_zone import schedule_zone
from .times import ahead_of

_COUNT = 10
_LOOKED_AT = 500
"""Of so much that comes ten lines are shown that differ."""

_NEXT = [Column("next", "<"), Column("operation", "<", shrinks=True), Column("entry", "<", extra=True)]
_ENTRIES = [Column("entry", "<"), Column("at", "<", shrinks=True), Column("last", "<"), Column("next", "<")]


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
    help=f"At most so many operations. Default: {_COUNT}, of the same entries only the next two; with "
    "--until as many as there are.",
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
    handled = HandledMoments(area).all() if place(area).exists() else {}  # looking makes no file
    busy = (
        [state for state in Operations(area).in_states(NOT_ENDED) if named(state.request)] if handled else []
    )
    served = area.joinpath(".mailhaul").is_dir() and is_served(area)
    ahead = coming(config, handled, zone, now, end, count or (None if end else _COUNT))
    if as_json:
        output.print_json(
            {
                "zone": str(zone),
                "now": now,
                "served": served,
                "next": ahead,
                "handled": [
                    {
                        "entry": entry.name,
                        "moment": handled[entry.name].moment,
                        "local": shown_in(zone, handled[entry.name].moment),
                        "passed_over": handled[entry.name].passed_over,
                    }
                    for entry in known
                    if entry.name in handled
                ],
                "under_way": busy,
            }
        )
        return EXIT_OK
    if not known:
        say("there is no schedule: [schedule] of the configuration names no times")
        return EXIT_OK
    if end is None and count is None:
        ahead = tuple(varied(coming(config, handled, zone, now, count=_LOOKED_AT), _COUNT))
    _print(ahead, known, handled, busy, zone, now)
    if not served:
        note("nobody serves this staging area: nothing of it is done until `mailhaul serve` runs")
    return EXIT_OK


def _print(
    ahead: Iterable[Coming],
    known: Sequence[Entry],
    handled: Mapping[str, Handled],
    busy: Sequence[Operation],
    zone: tzinfo,
    now: datetime,
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
            for one in ahead
        ],
    )
    say()
    last = [handled.get(one.name) for one in known]
    output.print_table(
        _ENTRIES,
        [_row(one, before, zone, now) for one, before in zip(known, last, strict=True)],
        [f"passed over: {one.passed_over}" if one and one.passed_over else "" for one in last],
    )
    if busy:
        say()
    for operation in busy:
        say(f"operation {operation.id} ({called(operation)}): {operation.state}")


def _row(entry: Entry, last: Handled | None, zone: tzinfo, now: datetime) -> list[str]:
    times = ", ".join([*map(str, entry.times), *(f"{one} (full)" for one in entry.full)])
    return [
        entry.name,
        times,
        _last(entry, last, zone),
        _short(next_moment(entry.all_times, zone, now), zone),
    ]


def _last(entry: Entry, last: Handled | None, zone: tzinfo) -> str:
    if last is None:
        return "never"
    # Else it is when the entry came into the schedule, or was changed.
    was_due = last.passed_over or last_moment(entry.all_times, zone, last.moment) == last.moment
    return _short(last.moment, zone) if was_due else f"none since {_short(last.moment, zone)}"


def _short(moment: datetime | None, zone: tzinfo) -> str:
    return "never" if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
