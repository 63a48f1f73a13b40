"""``mailhaul users``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from ...proto.errors import EXIT_OK, AccessError, UsageError
from ...proto.structs import Record
from ..clock import utc
from ..people import passwords
from ..people.accounts import Account, Accounts
from ..people.audit import AuditLog
from ..people.local_user import command_act
from ..people.roles import ROLES, Role
from . import adapters, output
from .configuration import configured, staging_area
from .operation_area import own_area
from .options import json_option, refuse, staging_option
from .output import Column, note, say, shown
from .program import Invocation

_COLUMNS = [
    Column("name", "<"),
    Column("role", "<"),
    Column("groups", "<"),
    Column("password", "<"),
    Column("token", "<"),
]


class _User(Record, kw_only=True):
    """An account without what is secret of it."""

    name: str
    role: str
    groups: tuple[str, ...]
    has_password: bool
    has_token: bool


class _Users(click.Group):
    """Without a command it is ``list``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        alone = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if alone else args)


@click.group("users", cls=_Users)
def command() -> None:
    """Make, change and list the accounts of people who use the page of `mailhaul serve`. Without a command,
    list them.

    An operator may do everything; a viewer sees everything and changes nothing; a helpdesk restores for the
    users of its groups, and reads no mail. Whoever runs the program needs no account at its Unix socket.
    A change takes effect at once, and ends the sessions of that account.

    \b
    Example: somebody who may do everything, whose password is asked for
      mailhaul users add anna --role operator
    """


_role_option = click.option("--role", type=click.Choice(ROLES), required=True, help="What they may do.")
_group_option = click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="A group that a helpdesk restores for (repeatable).",
)
_password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Its first line is the password; without this it is asked for twice.",
)


@command.command("list")
@staging_option
@json_option
@click.pass_obj
def list_users(invocation: Invocation, staging: Path | None, as_json: bool) -> int:
    """List the accounts.

    \b
    Example: who may log in here
      mailhaul users list
    """
    users = [_user(account) for account in Accounts(staging_area(invocation, staging)).all()]
    if as_json:
        output.print_json({"users": users})
    elif users:
        output.print_table(_COLUMNS, map(_row, users))
    else:
        say("there are no accounts: mailhaul users add NAME --role operator")
    return EXIT_OK


@command.command("add")
@click.argument("name")
@_role_option
@_group_option
@_password_option
@click.option("--no-password", is_flag=True, help="A proxy says who it is, or a token does.")
@staging_option
@json_option
@click.pass_obj
def add(
    invocation: Invocation,
    name: str,
    role: Role,
    groups: tuple[str, ...],
    password_file: Path | None,
    no_password: bool,
    staging: Path | None,
    as_json: bool,
) -> int:
    """Add an account.

    \b
    Example: somebody who restores for two groups
      mailhaul users add bob --role helpdesk --group staff --group guests
    """
    refuse(no_password and password_file is not None, "--password-file and --no-password")
    area = own_area(invocation, staging)
    accounts = Accounts(area)
    _check_groups(invocation, staging, groups)
    accounts.check_new(name, role, groups)
    password = None if no_password else _password(name, password_file)
    with _acting(area, "add user", name, role=role, groups=groups):
        account = accounts.add(name, role, groups, password)
    _show(account, f"{name} is {_described(role, groups)}", as_json=as_json)
    return EXIT_OK


@command.command("remove")
@click.argument("name")
@staging_option
@json_option
@click.pass_obj
def remove(invocation: Invocation, name: str, staging: Path | None, as_json: bool) -> int:
    """Remove an account, and end its sessions.

    \b
    Example: somebody who has left
      mailhaul users remove bob
    """
    area = own_area(invocation, staging)
    with _acting(area, "remove user", name):
        Accounts(area).remove(name)
    if as_json:
        output.print_json({"removed": name})
    else:
        say(shown(f"{name} is removed"))
    return EXIT_OK


@command.command("password")
@click.argument("name")
@_password_option
@staging_option
@json_option
@click.pass_obj
def set_password(
    invocation: Invocation, name: str, password_file: Path | None, staging: Path | None, as_json: bool
) -> int:
    """Give an account another password, and end its sessions.

    \b
    Example: a password from a file of mode 0600
      mailhaul users password anna --password-file new-password
    """
    area = own_area(invocation, staging)
    accounts = Accounts(area)
    accounts.get(name)
    password = _password(name, password_file)
    with _acting(area, "change password", name):
        accounts.set_password(name, password)
    _show(accounts.get(name), f"{name} has another password", as_json=as_json)
    return EXIT_OK


@command.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@_group_option
@staging_option
@json_option
@click.pass_obj
def set_role(
    invocation: Invocation,
    name: str,
    role: Role,
    groups: tuple[str, ...],
    staging: Path | None,
    as_json: bool,
) -> int:
    """Give an account another role, or a helpdesk other groups, and end its sessions.

    \b
    Example: somebody may look from now on, and change nothing
      mailhaul users role bob viewer
    """
    area = own_area(invocation, staging)
    accounts = Accounts(area)
    _check_groups(invocation, staging, groups)
    with _acting(area, "change role", name, role=role, groups=groups):
        accounts.set_role(name, role, groups)
    _show(accounts.get(name), f"{name} is {_described(role, groups)}", as_json=as_json)
    return EXIT_OK


@command.command("token")
@click.argument("name")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write it there, into a new file of mode 0600, and not to the standard output.",
)
@staging_option
@click.pass_obj
def make_token(invocation: Invocation, name: str, file: Path | None, staging: Path | None) -> int:
    """Make a token with which a program uses the API as this account; an earlier one is worth nothing then.

    It is sent as `Authorization: Bearer TOKEN`, and kept nowhere here.

    \b
    Example: a token for a program that looks
      mailhaul users token robot --file /etc/robot/mailhaul.token
    """
    area = own_area(invocation, staging)
    accounts = Accounts(area)
    accounts.get(name)
    descriptor = None if file is None else _new_file(file)
    with _acting(area, "make token", name):
        token = accounts.make_token(name)
    if descriptor is None:
        say(token)
    else:
        with os.fdopen(descriptor, "w") as out:
            out.write(token + "\n")
    return EXIT_OK


def _new_file(file: Path) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"{file}: expected a file that can be made: {error.strerror}") from error


def _password(name: str, file: Path | None) -> str:
    """Raises UsageError, AccessError."""
    if file is not None:
        from .identities import passphrase_in

        return passphrase_in(file)
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked for a password here: --password-file FILE, or --no-password")
    while True:
        typed: str = click.prompt(
            f"New password of {shown(name)}", hide_input=True, confirmation_prompt=True, err=True
        )
        try:
            passwords.check(typed)
        except UsageError as error:
            note(error.message)
        else:
            return typed


def _check_groups(invocation: Invocation, staging: Path | None, groups: Sequence[str]) -> None:
    """A helpdesk of a mistyped group would see nothing, and nobody would know why. Raises AccessError."""
    if not groups or staging is not None:
        return
    known = configured(invocation).groups.rules.names()
    for group in groups:
        if group not in known:
            raise AccessError(
                f"there is no group {group}; there are: {', '.join(sorted(known))}", group=group
            )


def _acting(area: Path, what: str, name: str, /, **facts: object) -> AbstractContextManager[object]:
    return AuditLog(area).acting(command_act(what, utc(adapters.clock().now()), on=name, facts=facts))


def _described(role: Role, groups: Sequence[str]) -> str:
    article = "an" if role == "operator" else "a"
    return f"{article} {role} now" + (f", for {', '.join(groups)}" if groups else "")


def _show(account: Account, line: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"user": _user(account)})
    else:
        say(shown(line))


def _user(account: Account) -> _User:
    return _User(
        name=account.name,
        role=account.role,
        groups=account.groups,
        has_password=account.password is not None,
        has_token=bool(account.token),
    )


def _row(user: _User) -> Sequence[str]:
    return (
        user.name,
        user.role,
        ", ".join(user.groups) or "-",
        "yes" if user.has_password else "no",
        "yes" if user.has_token else "no",
    )
