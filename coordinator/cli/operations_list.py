"""``mailhaul operations list``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..service.operations import Operations
from ..service.records import NOT_ENDED, Operation
from ..serving.host_requests import HostAsk
from . import output
from .elsewhere import Coordinator, coordinator_option
from .operation_area import queue_area
from .operation_lines import called, circumstances
from .options import json_option, refuse, staging_option
from .output import Column, say
from .program import Invocation
from .times import both

_COLUMNS = [
    Column("id"),
    Column("operation", "<"),
    Column("state", "<"),
    Column("asked", "<", extra=True),
    Column("by", "<", extra=True),
    Column("", "<"),
]


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
    """List what waits and what is under way, and what has ended last.

    \b
    Example:
      mailhaul operations list
    """
    if coordinator is None:
        found = _listed(queue_area(invocation, staging), last)
    else:
        refuse(staging is not None, "--coordinator is asked about its own staging area: leave out --staging")
        found = coordinator.ask(HostAsk(command="list", last=last)).operations
    if as_json:
        output.print_json({"operations": found})
    elif found:
        output.print_table(_COLUMNS, map(_row, found))
    else:
        say("there are no operations")
    return EXIT_OK


def _listed(area: Path, last: int) -> Sequence[Operation]:
    queue = Operations(area)
    standing = queue.in_states(NOT_ENDED)
    ended = [one for one in queue.newest(last + len(standing)) if one.ended is not None][:last]
    return sorted((*standing, *ended), key=lambda one: one.id)


def _row(one: Operation) -> Sequence[str]:
    asked_by = output.shown(one.request.asked_by)
    return str(one.id), called(one), one.state, both(one.asked), asked_by, circumstances(one)
