"""``mailhaul schedule``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo

import click

from ...proto.errors import EXIT_OK
from ..clock import utc
from ..scheduling.coming import Coming, coming, shown_in
from ..scheduling.entries import Entry, entries, named
from ..scheduling.timings import last_moment
from ..service.database import place
from ..service.handled import HandledMoments
from ..service.operations import Operations
from ..service.records import NOT_ENDED, Handled, Operation
from ..serving.serve_lock import is_served
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
    handled = HandledMoments(area).all() if place(area).exists() else {}  # looking makes no file
    busy = [one for one in Operations(area).in_states(NOT_ENDED) if named(one.request)] if handled else []
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
    _print(ahead, known, handled, busy, zone)
    if not served:
        note("nobody serves this staging area: nothing of it is done until `mailhaul serve` runs")
    return EXIT_OK


def _print(
    ahead: Iterable[Coming],
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
            for one in ahead
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
    moment = shown_in(zone, last.moment)
    if last.passed_over:
        return [entry.name, times, output.shown(f"{moment}, passed over: {last.passed_over}")]
    # Else it is when the entry came into the schedule, or was changed.
    was_due = last_moment(entry.all_times, zone, last.moment) == last.moment
    return [entry.name, times, moment if was_due else f"none since {moment}"]
