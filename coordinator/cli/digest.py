"""``mailhaul digest``."""

from __future__ import annotations

from datetime import timedelta

import click

from ...proto.errors import EXIT_OK
from ..clock import utc
from ..notices import digest as words
from ..notices.mornings import Mornings
from ..notices.rooms import Rooms
from ..notices.spaces import Spaces
from . import adapters, noticing, output
from .configuration import configured
from .options import json_option
from .output import say, shown
from .program import Invocation


@click.command("digest")
@click.option(
    "--send",
    is_flag=True,
    help="Send it to whoever receives digests, once for each night, and work the dead man's switch if the "
    "night was a good one. For a timer, where `mailhaul serve` does not run: it does this by itself.",
)
@json_option
@click.pass_obj
def command(invocation: Invocation, send: bool, as_json: bool) -> int:
    """Say in a few lines how the last night went, how things are, and what wants somebody.

    \b
    Example: each morning by a timer, without the service
      mailhaul digest --send
    """
    config = configured(invocation)
    zone = noticing.zone(config)
    mornings = Mornings(config, Spaces(config, Rooms()), noticing.site(config), zone)
    now = utc(adapters.clock().now())
    if send:
        found = mornings.look(now)
        mornings.work(now)
        noticing.deliver(config)
    else:
        found = mornings.digest(now - timedelta(days=1), now)
    if as_json:
        good = not found.not_good
        output.print_json({"digest": found, "good": good, "problems": words.problems(found)})
    else:
        for line in words.lines(found, zone):
            say(shown(line))
    return EXIT_OK
