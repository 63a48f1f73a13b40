"""``mailhaul notify acknowledge``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..clock import utc
from ..notices.raising import acknowledge
from ..people.audit import AuditLog
from ..people.local_user import command_act
from . import adapters, output
from .operation_area import own_area
from .options import json_option, staging_option
from .output import say, shown
from .program import Invocation


@click.command("acknowledge")
@click.option("--reason", metavar="TEXT", default="", help="Why; it stays on record.")
@click.argument("causes", nargs=-1, required=True, metavar="CAUSE...")
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation, reason: str, causes: tuple[str, ...], staging: Path | None, as_json: bool
) -> int:
    """Say that each CAUSE is known: nobody is reminded of it any more, and everybody hears when it is over.

    \b
    Example: tapes come on Monday
      mailhaul notify acknowledge --reason "on Monday" tape-wanted:vault:default:
    """
    area = own_area(invocation, staging)
    now = utc(adapters.clock().now())
    known = []
    for cause in causes:
        act = command_act("acknowledge notice", now, on=cause, why=shown(reason))
        with AuditLog(area).acting(act):
            known.append(acknowledge(area, cause, act.who, now))
    if as_json:
        output.print_json({"acknowledged": known})
    else:
        for standing in known:
            say(shown(f"{standing.notice.cause}: known to {standing.acknowledged_by}"))
    return EXIT_OK
