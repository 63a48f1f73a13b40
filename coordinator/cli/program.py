"""The command line as a whole: its commands by name, and the options that stand before a command.

A command's module is imported when the command is used, so that help and errors come at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import click

from ... import __version__
from ...proto.structs import Mutable

if TYPE_CHECKING:
    from ...proto.keys.identities import Identity
    from ..settings import Config
    from .progress import Display

COMMANDS = {
    "init": "Write a commented mailhaul.toml and backup-groups.conf.",
    "groups": "Show how mailboxes fall into groups and shards.",
    "backup": "Back up mailboxes.",
    "restore": "Restore mailboxes, folders or messages.",
    "undelete": "Restore what was deleted between two times.",
    "ls": "List what a backup holds.",
    "find": "Find messages by sender, subject, date, attachment.",
    "diff": "Show what changed between two times.",
    "show": "Print one message as it was stored.",
    "status": "Show the current run and the last good backups.",
    "runs": "List runs, or show one in full.",
    "verify": "Check archives for damage.",
    "drill": "Prove that restores work: restore some mailboxes, and compare them.",
    "proof": "Tell when mailboxes were last proven.",
    "check": "Look whether the mail store still has what its backup has.",
    "sweep": "Copy archives to their destinations, and free staging space.",
    "confirm": "Record that another program has taken archives.",
    "recall": "Bring archives back that a restore needs.",
    "purge": "Delete runs that the retention rules do not keep.",
    "erase": "Erase all that is stored of a user, everywhere.",
    "hold": "Protect a mailbox or a run from purge, or list the holds.",
    "release": "Remove holds, also those set by alarms.",
    "destination": "List, check and take over the places where archives are kept for good.",
    "tape": "List, label, look through, eject and check tapes.",
    "tree": "Make a tree of directories for programs that back up by directories.",
    "catalog": "Rebuild the catalog of runs and archives.",
    "receive": "Receive archives from workers on other hosts (runs on the staging host).",
    "operations": "List, put in and stop the operations of the queue.",
    "schedule": "Show what serve does next, and did last, by the schedule.",
    "digest": "Say how the last night went, and what wants somebody.",
    "notify": "List notices, acknowledge them, try whether everybody is reached.",
    "serve": "Stay, and carry out the operations in the queue of a staging area.",
    "keys": "Make and list keys: of hosts, and of recipients who can open archives.",
    "users": "Make, change and list the accounts of the page.",
    "audit": "Show who did what on the page, and why.",
    "completion": "Print a shell completion script.",
    "man": "Write the manual pages.",
}
"""The commands in the order people meet them, each a module beside this one, and what ``--help`` says."""

COMPLETE_VARIABLE = "_MAILHAUL_COMPLETE"
"""Set by a shell that wants to know how a command line could go on: see ``completion``."""

_EXIT_CODES = """\
\b
Exit codes:
  0  all done
  1  failed
  2  wrong use or configuration
  3  finished, but something was skipped (it is listed)
  4  damaged data found
  5  another run holds the lock
"""


class Carried(Protocol):
    """An operation of the queue that this process carries out."""

    @property
    def display(self) -> Display:
        """Shows the course of works to who looks on from elsewhere."""

    def begins(self, what: str) -> None:
        """The command is about to begin a run or a restore of this id: it can be gone on with from now on."""

    def given(self, parameter: str) -> Path | None:
        """The file that was kept for a parameter of the command when the operation was asked for; None: the
        parameter names no file."""

    def waits(self, why: str) -> None:
        """The command waits for something that takes hours or days (empty: it goes on). Raises nothing."""


class Invocation(Mutable):
    """What was said before the command, and whether the result is to be a JSON document. ``operation`` is the
    operation of the queue that the command is carried out for, if it is. ``identity`` opens archives where
    the command names no private key. ``loaded`` is the configuration that the command has read, ``begun`` the
    run or restore that it has begun, or goes on with: None and empty if it has not."""

    config: Path | None = None
    debug: bool = False
    json: bool = False
    operation: Carried | None = None
    identity: Identity | None = None
    loaded: Config | None = None
    begun: str = ""


class _Commands(click.Group):
    """For a mistyped name click suggests one of its own ``commands``; here these are loaded when used."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=COMMANDS, ctx=ctx
            ) from None

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return cast(click.Command, import_module(f".{cmd_name}", __package__).command)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        hot_path = import_module("...worker.packing.hot_path", __package__)
        click.echo(f"mailhaul {__version__}, hot path: {hot_path.NAME}")
        context.exit()


@click.group(
    cls=_Commands,
    name="mailhaul",
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration. Default: ./mailhaul.toml, else /etc/mailhaul/mailhaul.toml.",
)
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version, and whether the hot path of backups is the one in C, and exit.",
)
@click.pass_obj
def program(invocation: Invocation, config: Path | None, debug: bool) -> None:
    """Back up and restore mail stores: parallel, deduplicating, down to one message.

    \b
    Back up a Maildir, list the backup, restore it elsewhere:
      mailhaul backup --store maildir:~/Maildir --staging ./backup
      mailhaul ls / --staging ./backup
      mailhaul restore / --staging ./backup --to maildir:./restored
    """
    invocation.config = config
    invocation.debug = debug


def run(arguments: Sequence[str], invocation: Invocation) -> int:
    """Run a command; returns its exit status. Wrong use of it is told here, everything else is raised."""
    # Not program.main(): that would turn interruptions and closed pipes into its own exit statuses.
    try:
        with program.make_context("mailhaul", list(arguments), obj=invocation) as context:
            return cast(int, program.invoke(context)) or 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
