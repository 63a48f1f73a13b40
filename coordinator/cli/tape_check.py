"""``mailhaul tape check``."""

from __future__ import annotations

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ...worker.destinations.tape.stocktaking import check_volume, retire
from . import output
from .options import json_option
from .output import counted, note, say, shown
from .program import Invocation
from .tape_volumes import tape_of, volume_of


@click.command("check")
@click.argument("name")
@click.argument("volume")
@click.option(
    "--retire", "why", metavar="TEXT", help="Write nothing more on it from now on, for this reason."
)
@json_option
@click.pass_obj
def command(invocation: Invocation, name: str, volume: str, why: str | None, as_json: bool) -> int:
    """Read all of VOLUME (its label, bar code or UUID) and compare each archive with its checksum.

    \b
    Example:
      mailhaul tape check drive TAPE0004
    """
    with tape_of(invocation, name) as tape:
        known = volume_of(tape, volume)
        if why is not None:
            retire(tape.inventory, known, why)
        checked = list(check_volume(known, tape.mounts, lambda _: None))
    wrong = [one for one in checked if one.problem]
    if as_json:
        output.print_json(
            {
                "volume": known.label.volume,
                "checked": len(checked),
                "damaged": [{"name": one.entry.name, "problem": one.problem} for one in wrong],
            }
        )
    else:
        say(shown(f"{known.label.label}: {counted(len(checked), 'archive')} read, {len(wrong)} damaged"))
        for one in wrong:
            note(f"{one.entry.name}: {one.problem}")
    return EXIT_DAMAGED if wrong else EXIT_OK
