"""``mailhaul keys recipient show``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ...proto.keys.recipients import KIND_NAMES, fingerprint, read_recipient
from . import output
from .options import json_option
from .output import say


@click.command("show")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@json_option
def command(file: Path, as_json: bool) -> int:
    """Show the recipient in FILE, a NAME.pub: its kind, and its fingerprint to compare.

    \b
    Example: is it the key that is on the paper in the safe?
      mailhaul keys recipient show /etc/mailhaul/ops.pub
    """
    recipient = read_recipient(file)
    if as_json:
        output.print_json(
            {
                "name": recipient.name,
                "kind": KIND_NAMES[recipient.kem],
                "fingerprint": fingerprint(recipient.id),
                "file": file,
            }
        )
    else:
        say(f"{recipient.name}  {KIND_NAMES[recipient.kem]}  {fingerprint(recipient.id)}")
    return EXIT_OK
