"""``mailhaul hold``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..clock import utc
from ..holding import known_path, known_run
from ..holds import Hold, add_hold, read_holds
from . import adapters, output
from .configuration import staging_area
from .options import json_option, refuse, staging_option
from .output import Column, say
from .program import Invocation
from .times import both

_HOLDS = [
    Column("held", "<"),
    Column("since", "<"),
    Column("by", "<"),
    Column("reason", "<"),
]


@click.command("hold")
@click.argument("what", required=False, metavar="[PATH|RUN]")
@click.option("--reason", metavar="TEXT", default="", help="Why, for whoever finds the hold later.")
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation, what: str | None, reason: str, staging: Path | None, as_json: bool
) -> int:
    """Protect all that is kept of the mailboxes below PATH, or of RUN, from purge until it is released.
    Without an argument, list the holds.

    A mailbox is held in all groups of its partition. Alarms hold mailboxes, too, until they are released.

    \b
    Example: keep all that there is of a user
      mailhaul hold /primary/user/jane@example.org --reason "case 42"
    """
    area = staging_area(invocation, staging)
    if what is None:
        refuse(bool(reason), "--reason is that of a hold: name what is to be held")
        _list(read_holds(area).all, as_json=as_json)
        return EXIT_OK
    since = utc(adapters.clock().now())
    if what.startswith("/"):
        hold = Hold(path=str(known_path(area, what)), reason=reason, since=since)
    else:
        hold = Hold(run=known_run(area, what), reason=reason, since=since)
    added = add_hold(area, hold)
    if as_json:
        output.print_json({"hold": hold, "added": added})
    else:
        say(output.shown(f"{hold.what} is held" if added else f"{hold.what} was held already"))
    return EXIT_OK


def _list(holds: Sequence[Hold], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"holds": holds})
    elif holds:
        output.print_table(_HOLDS, map(_row, holds))
    else:
        say("nothing is held")


def _row(hold: Hold) -> Sequence[str]:
    by = "alarm" if hold.automatic else "hold"
    return output.shown(hold.what), both(hold.since), by, output.shown(hold.reason)
