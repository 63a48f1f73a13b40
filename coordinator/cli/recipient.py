"""``mailhaul keys recipient``: its commands, each a module beside this one."""

from __future__ import annotations

import click

from . import (
    recipient_add,
    recipient_check,
    recipient_list,
    recipient_make,
    recipient_paper,
    recipient_retire,
    recipient_show,
)


@click.group("recipient")
def command() -> None:
    """Make, show, check and print the keys of recipients: of those who can open encrypted archives.

    NAME.pub is the public key of a recipient, for [encryption] recipients of the configuration; NAME.secret
    is the private one, which opens archives, and which no host needs every day.

    \b
    Example: a recipient, and its key on paper
      mailhaul keys recipient make ops --dir /media/stick
      mailhaul keys recipient paper /media/stick/ops.secret --html ops.html
    """


_MODULES = (
    recipient_make,
    recipient_show,
    recipient_list,
    recipient_check,
    recipient_paper,
    recipient_add,
    recipient_retire,
)
for _module in _MODULES:
    command.add_command(_module.command)
