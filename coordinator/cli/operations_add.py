"""``mailhaul operations add``."""

from __future__ import annotations

import stat
from pathlib import Path

import click

from ...proto.errors import EXIT_OK, UsageError
from ..clock import utc
from ..people.audit import AuditLog
from ..people.local_user import command_act
from ..service.operations import Operations
from ..service.records import KINDS, Kind, Request
from ..serving.given_files import MOST_BYTES, keep
from ..serving.host_requests import HostAsk, HostReply
from ..serving.serve_lock import is_served
from . import adapters, output
from .elsewhere import Coordinator, coordinator_option
from .identities import configured_identity
from .operation_area import own_queue_area
from .operation_words import checked, files_of, named_keys, password_file_of
from .options import json_option, refuse, staging_option
from .output import note, say
from .program import Invocation


@click.command("add", context_settings={"allow_interspersed_args": False})
@click.option("--reason", metavar="TEXT", default="", help="Why; it stays on record.")
@coordinator_option
@staging_option
@json_option
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS...]")
@click.pass_obj
def command(
    invocation: Invocation,
    reason: str,
    coordinator: Coordinator | None,
    staging: Path | None,
    as_json: bool,
    kind: Kind,
    arguments: tuple[str, ...],
) -> int:
    """Put an operation in, behind the others: KIND is the command, ARGUMENTS are what it is given. What
    stands behind KIND is of the operation, so --reason stands before it.

    Files that a restore is given (--map, --announce, --ca-file, the report of --only-damaged) are read now,
    and kept with the operation until it has ended. Passwords and private keys are named by the whole path of
    their file, which the user of `mailhaul serve` has to be able to read.

    With --coordinator it is put in on another host of the cluster: nothing it is given may then be of that
    host, and serve.trusted_hosts there says who may ask for more than what changes nothing.

    \b
    Example: a purge, and why
      mailhaul operations add --reason "the disk fills up" purge --last 7
    """
    refuse(
        any(word.partition("=")[0] == "--reason" for word in arguments),
        f"what stands behind {kind} is given to it: --reason stands before {kind}",
    )
    if coordinator is None:
        answer = _put_in(own_queue_area(invocation, staging), kind, arguments, reason)
    else:
        refuse(staging is not None, "--coordinator is asked about its own staging area: leave out --staging")
        answer = coordinator.ask(HostAsk(command="add", kind=kind, arguments=arguments, reason=reason))
    (operation,) = answer.operations
    if as_json:
        output.print_json({"operation": operation})
    else:
        say(f"operation {operation.id} waits")
    if not answer.served:
        note("nobody carries it out: `mailhaul serve` does not run")
    return EXIT_OK


def _put_in(area: Path, kind: Kind, arguments: tuple[str, ...], reason: str) -> HostReply:
    now = utc(adapters.clock().now())
    words = checked(kind, arguments)
    identities, passphrase_files = named_keys(kind, words)
    if identities:
        configured_identity(identities, passphrase_files)  # its process can ask nobody for a passphrase
    why = output.shown(reason)
    files = {name: _read(file) for name, file in files_of(kind, words).items()}
    if (password := password_file_of(kind, words)) is not None:
        _refuse_unreadable(password, area)
    act = command_act("add operation", now, on=kind, why=why, facts={"arguments": words})
    request = Request(kind=kind, arguments=words, asked_by=act.who, reason=why)
    with AuditLog(area).acting(act) as found:
        operation = Operations(area).add(request, now, lambda number: keep(area, number, files))
        found["operation"] = operation.id
    return HostReply(operations=(operation,), served=is_served(area))


def _read(file: Path) -> bytes:
    """What is in a file that an operation is given. Raises UsageError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    refuse(len(content) > MOST_BYTES, f"{file}: an operation is given files of at most {MOST_BYTES:,} bytes")
    return content


def _refuse_unreadable(password: Path, area: Path) -> None:
    """Raises UsageError for a file with a password that whoever serves the area can't read, or others can."""
    try:
        file, served_by = password.stat(), area.stat().st_uid
    except OSError as error:
        raise UsageError(f"{password}: {error.strerror}") from error
    refuse(
        bool(file.st_mode & 0o077) or not stat.S_ISREG(file.st_mode),
        f"{password}: expected a file that nobody else can read (chmod 600)",
    )
    refuse(
        served_by not in (0, file.st_uid),
        f"{password}: the user of `mailhaul serve`, whose staging area it is, can't read it",
    )
