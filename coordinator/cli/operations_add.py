"""``mailhaul operations add``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..clock import utc
from ..people.audit import AuditLog
from ..people.local_user import command_act
from ..service.operations import Operations
from ..service.records import KINDS, Kind, Request
from ..serving.serve_lock import is_served
from . import adapters, output
from .configuration import staging_area
from .operation_words import checked
from .options import json_option, staging_option
from .output import note, say
from .program import Invocation


@click.command("add", context_settings={"allow_interspersed_args": False})
@click.option("--reason", metavar="TEXT", default="", help="Why; it stays on record.")
@staging_option
@json_option
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS...]")
@click.pass_obj
def command(
    invocation: Invocation,
    reason: str,
    staging: Path | None,
    as_json: bool,
    kind: Kind,
    arguments: tuple[str, ...],
) -> int:
    """Put an operation in, behind the others: KIND is the command, ARGUMENTS are what it is given. What
    stands behind KIND is of the operation, so --reason stands before it.

    \b
    Example: a purge, and why
      mailhaul operations add --reason "the disk fills up" purge --last 7
    """
    area = staging_area(invocation, staging)
    now = utc(adapters.clock().now())
    words = checked(kind, arguments)
    why = output.shown(reason)
    act = command_act("add operation", now, on=kind, why=why, facts={"arguments": words})
    request = Request(kind=kind, arguments=words, asked_by=act.who, reason=why)
    with AuditLog(area).acting(act):
        operation = Operations(area).add(request, now)
    if as_json:
        output.print_json({"operation": operation})
    else:
        say(f"operation {operation.id} waits")
    if not is_served(area):
        note("nobody carries it out: `mailhaul serve` does not run")
    return EXIT_OK
