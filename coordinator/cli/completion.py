"""``mailhaul completion``, and the answers to the shells that its scripts make ask."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete, shell_complete

from ...proto.errors import EXIT_OK
from .output import say
from .program import COMPLETE_VARIABLE, Invocation, program

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion")
@click.argument("shell", type=click.Choice(tuple(_SHELLS)), metavar="SHELL")
def command(shell: str) -> int:
    """Print what makes SHELL (bash, zsh or fish) complete commands and options with the tab key.

    \b
    Example: for everybody on this host
      mailhaul completion bash > /etc/bash_completion.d/mailhaul
    """
    say(_SHELLS[shell](program, {}, "mailhaul", COMPLETE_VARIABLE).source())
    return EXIT_OK


def answer(instruction: str) -> int:
    """Answer a shell. Returns the exit status."""
    return shell_complete(program, {"obj": Invocation()}, "mailhaul", COMPLETE_VARIABLE, instruction)
