"""``mailhaul operations list``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..clock import utc
from ..service.operations import Operations
from ..service.records import UNDER_WAY, Operation, State
from ..serving.host_requests import HostAsk
from ..serving.progress import OperationProgress, read_progress
from ..serving.serve_lock import is_served
from ..serving.standing import listing
from . import adapters, output
from .elsewhere import Coordinator, coordinator_option
from .operation_area import queue_area
from .operation_lines import called, circumstances, course
from .options import json_option, refuse, staging_option
from .output import Column, note, say
from .program import Invocation
from .times import both

_COLUMNS = [
    Column("id"),
    Column("state", "<"),
    Column("since (UTC)", "<"),
    Column("operation", "<", shrinks=True),
    Column("by", "<", extra=True),
    Column("asked", "<", extra=True),
]

_STANDING: tuple[State, ...] = ("waiting", "interrupted")
_LONGEST = 300
_THIS_YEAR = timedelta(days=300)


@click.command("list")
@click.option(
    "--last",
    type=click.IntRange(1, 100_000),
    default=20,
    metavar="N",
    help="So many of those that have ended, the newest. Default: 20.",
)
@coordinator_option
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    last: int,
    coordinator: Coordinator | None,
    staging: Path | None,
    as_json: bool,
) -> int:
    """List what has ended last, what is under way, with how far it is, and what waits, with the reason.

    \b
    Example:
      mailhaul operations list
    """
    if coordinator is None:
        area = queue_area(invocation, staging)
        found, served = listing(Operations(area), last), is_served(area)
        courses = {one.id: course(told) for one in found if (told := _progress(area, one))}
    else:
        refuse(staging is not None, "--coordinator is asked about its own staging area: leave out --staging")
        answer = coordinator.ask(HostAsk(command="list", last=last))
        found, served, courses = answer.operations, answer.served, {}
    if as_json:
        output.print_json({"operations": found})
    elif found:
        _print(found, courses)
        if not served and any(one.state in _STANDING for one in found):
            note("nobody carries them out: `mailhaul serve` does not run")
    else:
        say("there are no operations")
    return EXIT_OK


def _print(found: Sequence[Operation], courses: Mapping[int, str]) -> None:
    """What has ended, then what is under way, then what waits: the last lines are those that are seen."""
    now = utc(adapters.clock().now())
    rows = sorted(
        found, key=lambda one: (one.state in _STANDING, one.state in UNDER_WAY, _since(one), one.id)
    )
    beneath = [circumstances(one) or courses.get(one.id, "") for one in rows]
    output.print_table(_COLUMNS, [_row(one, now) for one in rows], beneath)


def _progress(area: Path, one: Operation) -> OperationProgress | None:
    return read_progress(area, one.id) if one.state in UNDER_WAY else None


def _row(one: Operation, now: datetime) -> Sequence[str]:
    asked_by = output.shown(one.request.asked_by)
    return str(one.id), one.state, _short(_since(one), now), called(one, _LONGEST), asked_by, both(one.asked)


def _since(one: Operation) -> datetime:
    """When it came to be in its state: ended, began, was asked for."""
    return one.ended or (one.started if one.state in UNDER_WAY else None) or one.asked


def _short(when: datetime, now: datetime) -> str:
    """Day and minute; of what is long ago the year."""
    return f"{when:%m-%d %H:%M}" if abs(now - when) < _THIS_YEAR else f"{when:%Y-%m-%d}"
