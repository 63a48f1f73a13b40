"""``mailhaul notify list``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..notices.records import Standing
from ..service.notices import ChannelStanding, NoticeRecord
from . import output
from .configuration import staging_area
from .options import json_option, staging_option
from .output import Column, number, say, shown
from .program import Invocation
from .times import both

_NOTICES = [
    Column("cause", "<"),
    Column("event", "<"),
    Column("since", "<"),
    Column("times"),
    Column("said last", "<", extra=True),
    Column("", "<"),
]
_CHANNELS = [
    Column("receiver", "<"),
    Column("delivered"),
    Column("waiting"),
    Column("failures", extra=True),
    Column("given up", extra=True),
    Column("", "<"),
]


@click.command("list")
@click.option(
    "--last",
    type=click.IntRange(0, 100_000),
    default=0,
    metavar="N",
    help="Also so many of those that are over, the newest.",
)
@staging_option
@json_option
@click.pass_obj
def command(invocation: Invocation, last: int, staging: Path | None, as_json: bool) -> int:
    """List what lasts and people were told of, and how deliveries to the receivers go.

    \b
    Example:
      mailhaul notify list
    """
    record = NoticeRecord(staging_area(invocation, staging))
    notices = (*record.lasting(), *record.past(last))
    channels = record.channels()
    if as_json:
        output.print_json({"notices": notices, "receivers": channels})
        return EXIT_OK
    if notices:
        output.print_table(_NOTICES, map(_notice_row, notices))
    else:
        say("nothing lasts that people were told of")
    if channels:
        say()
        output.print_table(_CHANNELS, map(_channel_row, channels))
    return EXIT_OK


def _notice_row(standing: Standing) -> Sequence[str]:
    state = shown(f"acknowledged by {standing.acknowledged_by}") if standing.acknowledged else ""
    state = "over" if standing.over else state or shown(standing.notice.subject)
    return (
        standing.notice.cause,
        standing.notice.event,
        both(standing.first),
        number(standing.times),
        both(standing.said),
        state,
    )


def _channel_row(standing: ChannelStanding) -> Sequence[str]:
    state = (
        shown(f"fails since {output.moment(standing.failing_since)}: {standing.error}")
        if standing.failing_since
        else ""
    )
    counts = map(number, (standing.delivered, standing.waiting, standing.failures, standing.given_up))
    return standing.name, *counts, state
