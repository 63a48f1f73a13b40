"""``mailhaul release``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..holding import named
from ..holds import release
from . import output
from .configuration import staging_area
from .options import json_option, staging_option
from .output import say
from .program import Invocation


@click.command("release")
@click.argument("what", metavar="PATH|RUN")
@staging_option
@json_option
@click.pass_obj
def command(invocation: Invocation, what: str, staging: Path | None, as_json: bool) -> int:
    """Remove the holds on PATH and on everything below it, or on RUN. The retention rules apply again then.

    \b
    Example: a mailbox was emptied on purpose; release the hold that the alarm has set
      mailhaul release /primary/user/jane@example.org
    """
    released = release(staging_area(invocation, staging), named(what))
    if as_json:
        output.print_json({"released": released})
    else:
        for hold in released:
            say(output.shown(f"{hold.what} is released" + (f" ({hold.reason})" if hold.reason else "")))
    return EXIT_OK
