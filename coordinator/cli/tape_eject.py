"""``mailhaul tape eject``."""

from __future__ import annotations

import click

from ...proto.errors import EXIT_OK
from . import output
from .options import json_option
from .output import say, shown
from .program import Invocation
from .tape_volumes import cartridge_of, tape_of


@click.command("eject")
@click.argument("name")
@click.argument("volume")
@json_option
@click.pass_obj
def command(invocation: Invocation, name: str, volume: str, as_json: bool) -> int:
    """Bring VOLUME, by its bar code or where it is, to where it can be taken: a mail slot of the robot.

    What is in a mail slot counts as away. Of volumes that are files it is the directory "ejected".

    \b
    Example: the tape of last week goes to the safe
      mailhaul tape eject drive TAPE0004
    """
    with tape_of(invocation, name) as tape:
        where = tape.library.eject(cartridge_of(tape, volume))
    if as_json:
        output.print_json({"volume": volume, "where": where})
    else:
        say(shown(f"{volume}: {where}"))
    return EXIT_OK
