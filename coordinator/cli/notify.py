"""``mailhaul notify``: its commands, each a module beside this one."""

from __future__ import annotations

import click

from . import notify_acknowledge, notify_list, notify_test


@click.group("notify")
def command() -> None:
    """List what people are told of, say that something is known, and try whether everybody can be reached.

    Who is told of what, and how, is configured ([notices]).

    \b
    Example: send something to everybody, and see what their servers say
      mailhaul notify test
    """


for _module in (notify_list, notify_acknowledge, notify_test):
    command.add_command(_module.command)
