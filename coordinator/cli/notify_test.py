"""``mailhaul notify test``."""

from __future__ import annotations

from typing import cast

import click

from ...proto.errors import EXIT_FAILED, EXIT_OK
from ..clock import utc
from ..notices.records import EVENTS, Event
from ..notices.trying import try_all
from . import adapters, noticing, output
from .configuration import configured
from .options import json_option
from .output import say, shown
from .program import Invocation


@click.command("test")
@click.option(
    "--event",
    type=click.Choice(EVENTS),
    metavar="EVENT",
    default="test",
    help="Only to those who receive this event, as if it had happened. Default: to everybody.",
)
@json_option
@click.pass_obj
def command(invocation: Invocation, event: str, as_json: bool) -> int:
    """Send something to everybody, and say what each mail server, program and webhook said. Exit code 1 if
    somebody could not be reached.

    \b
    Example: who gets up when a backup fails?
      mailhaul notify test --event failed
    """
    config = configured(invocation)
    tried = try_all(
        config.notices.receivers,
        noticing.channels(config),
        cast(Event, event),
        noticing.site(config),
        noticing.zone(config),
        utc(adapters.clock().now()),
    )
    if as_json:
        output.print_json({"event": event, "receivers": tried})
    else:
        for one in tried:
            say(shown(f"{one.receiver}: {'taken' if one.taken else 'FAILED'}: {one.said}"))
        if not tried:
            say("nobody receives this: [[notices.to]] of the configuration names who receives what")
    return EXIT_OK if all(one.taken for one in tried) else EXIT_FAILED
