"""``mailhaul tape label``."""

from __future__ import annotations

import click

from ...proto.errors import EXIT_OK, PlaceError, UsageError
from ...worker.destinations.tape.labelling import ForeignVolumeError
from ...worker.destinations.tape.library import Cartridge
from ...worker.destinations.tape.opening import Tape
from . import output
from .options import json_option
from .output import say, shown
from .program import Invocation
from .tape_volumes import cartridge_of, document, tape_of


@click.command("label")
@click.argument("name")
@click.argument("label")
@click.option("--in", "place", metavar="PLACE", help="Its bar code, or where it is: 'slot 5', 'drive 0'.")
@click.option("--over", metavar="UUID", help="The volume that is there now: all that is on it is given up.")
@click.option("--worm", is_flag=True, help="The volume can be written only once.")
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    name: str,
    label: str,
    place: str | None,
    over: str | None,
    worm: bool,
    as_json: bool,
) -> int:
    """Label a blank volume as LABEL, for the pool of the destination NAME.

    A volume of somebody else, or one that can't be read, is never labelled. One of ours is with --over.

    \b
    Example: the tape with the bar code TAPE0005
      mailhaul tape label drive TAPE0005 --in TAPE0005
    """
    with tape_of(invocation, name) as tape:
        mounted = tape.mounts.load(_cartridge(tape, place))
        found = mounted.label
        if found is not None and found.volume != over:
            raise ForeignVolumeError(
                f"this volume has the label {found.label!r}; --over {found.volume} gives up what is on it",
                volume=found.volume,
                label=found.label,
            )
        if found is None and over is not None:
            raise PlaceError(f"the volume is blank, it is not {over}")
        known = tape.allocator.label(mounted, label, worm=worm)
    if as_json:
        output.print_json({"volume": document(known, mounted.cartridge.where)})
    else:
        say(shown(f"{mounted.cartridge.where}: labelled as {label!r} of pool {known.label.pool!r}"))
        say(known.label.volume)
    return EXIT_OK


def _cartridge(tape: Tape, place: str | None) -> Cartridge:
    if place is not None:
        return cartridge_of(tape, place)
    made = tape.library.add_blank()
    if made is not None:
        return made
    there = tape.library.cartridges()
    if len(there) != 1:
        raise UsageError(f"there are {len(there)} volumes in reach: say which one with --in")
    return there[0]
