"""``mailhaul tape forget``."""

from __future__ import annotations

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ...worker.destinations.tape.lost_volume import forget_volume
from ..lost_copies import note_lost
from ..sweeping.locks import sweeping
from . import output
from .configuration import configured
from .options import json_option, refuse
from .output import counted, note, say, shown
from .program import Invocation
from .tape_volumes import tape_of, volume_of


@click.command("forget")
@click.argument("name")
@click.argument("volume")
@json_option
@click.pass_obj
def command(invocation: Invocation, name: str, volume: str, as_json: bool) -> int:
    """Say that VOLUME (its label, bar code or UUID) will never come back: it was lost, or burned.

    What was on it counts no more as a copy, and the next sweep copies it anew, from wherever it still lies. A
    volume that turns up again is found by `mailhaul tape inventory`.

    \b
    Example:
      mailhaul tape forget library TAPE0004
    """
    staging = configured(invocation).staging.path
    with sweeping(staging, name), tape_of(invocation, name) as tape:
        known = volume_of(tape, volume)
        refuse(tape.mounts.in_reach(known), f"{shown(known.label.label)} is in reach: nothing of it is lost")
        gone = forget_volume(tape.inventory, known)
        lost = note_lost(staging, name, gone)
    if as_json:
        output.print_json({"volume": known.label.volume, "copies": lost.noted, "missing": lost.missing})
    else:
        say(shown(f"{known.label.label}: {counted(lost.noted, 'copy', 'copies')} gone with it"))
        for one in lost.missing:
            note(f"{one}: there is no other copy")
    return EXIT_DAMAGED if lost.missing else EXIT_OK
