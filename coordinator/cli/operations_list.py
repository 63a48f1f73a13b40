"""``mailhaul operations list``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..service.operations import Operations
from ..service.records import Operation
from . import output
from .configuration import staging_area
from .operation_lines import called, circumstances
from .options import json_option, staging_option
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
@staging_option
@json_option
@click.pass_obj
def command(invocation: Invocation, last: int, staging: Path | None, as_json: bool) -> int:
    """List what waits and what is under way, and what has ended last.

    \b
    Example:
      mailhaul operations list
    """
    queue = Operations(staging_area(invocation, staging))
    standing = queue.in_states(("waiting", "running", "stopping"))
    ended = [one for one in queue.newest(last + len(standing)) if one.ended is not None][:last]
    found = sorted((*standing, *ended), key=lambda one: one.id)
    if as_json:
        output.print_json({"operations": found})
    elif found:
        output.print_table(_COLUMNS, map(_row, found))
    else:
        say("there are no operations")
    return EXIT_OK


def _row(one: Operation) -> Sequence[str]:
    asked_by = output.shown(one.request.asked_by)
    return str(one.id), called(one), one.state, both(one.asked), asked_by, circumstances(one)
