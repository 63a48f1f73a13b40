"""``mailhaul tape list``."""

from __future__ import annotations

import click

from ...proto.errors import EXIT_OK, PlaceError
from . import output
from .options import json_option
from .output import note, say, shown
from .program import Invocation
from .tape_volumes import VOLUMES, document, row, tape_of


@click.command("list")
@click.argument("name")
@json_option
@click.pass_obj
def command(invocation: Invocation, name: str, as_json: bool) -> int:
    """List the volumes of the destination NAME, where they are, and which are wanted. Nothing is loaded.

    \b
    Example:
      mailhaul tape list drive
    """
    with tape_of(invocation, name) as tape:
        try:
            where = {
                cartridge.tag: cartridge.where for cartridge in tape.library.cartridges() if cartridge.tag
            }
        except PlaceError as error:
            note(error.message)
            where = {}
        volumes = [(known, where.get(known.tag, "away")) for known in tape.inventory.all()]
        wanted = tape.inventory.wanted()
    volumes.sort(key=lambda one: (one[0].label.pool, one[0].label.label))
    if as_json:
        output.print_json({"volumes": [document(*volume) for volume in volumes], "wanted": wanted})
        return EXIT_OK
    if volumes:
        output.print_table(VOLUMES, (row(*one) for one in volumes))
    else:
        say("no volumes are known")
    for wish in wanted:
        what = f"volume {wish.label!r}" if wish.volume else "a volume with room, or a blank one,"
        say(shown(f"wanted since {wish.since[:19]}: {what} of pool {wish.pool!r}, {wish.why}"))
    return EXIT_OK
