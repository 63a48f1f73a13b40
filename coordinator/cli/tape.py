"""``mailhaul tape``: its commands, each a module beside this one."""

from __future__ import annotations

import click

from . import tape_check, tape_eject, tape_forget, tape_inventory, tape_label, tape_list


@click.group("tape")
def command() -> None:
    """List, label, look through, eject, check and forget the tapes of a destination.

    NAME is that of a destination of the kind tape.

    \b
    Example: a new tape in the robot of the destination library
      mailhaul tape label library TAPE0005 --in "slot 5"
    """


for _module in (tape_list, tape_label, tape_inventory, tape_eject, tape_check, tape_forget):
    command.add_command(_module.command)
