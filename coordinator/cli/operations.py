"""``mailhaul operations``: its commands, each a module beside this one."""

from __future__ import annotations

import click

from . import operations_add, operations_list, operations_run, operations_show, operations_stop


@click.group("operations")
def command() -> None:
    """List, show, put in and stop the operations of the queue.

    They are carried out by `mailhaul serve`, in the order in which they were put in, beside each other where
    that is safe.

    \b
    Example: a backup of a group, as soon as nothing stands in its way
      mailhaul operations add backup /primary/staff
    """


for _module in (operations_list, operations_show, operations_add, operations_stop, operations_run):
    command.add_command(_module.command)
