"""``mailhaul keys``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import click

from ...proto.errors import EXIT_FAILED, EXIT_OK, AccessError, UsageError
from ...proto.structs import Record
from ...proto.wire.keys import is_name, make_pair, read_allowed, read_pair
from ..settings import StagingConfig
from . import output, recipient, structure
from .configuration import PLACES, configured
from .options import json_option
from .output import Column, counted, note, say
from .program import Invocation

RECEIVER = "receiver"
"""The name of the pair by which workers know the receiver."""

_PUBLIC = ".key"
_PAIR = ".key_secret"
_WRITABLE_BY_OTHERS = 0o022
_COLUMNS = [Column("name", "<"), Column("public key", "<"), Column("secret half", "<")]


class _Key(Record, kw_only=True):
    """What a directory holds under one name: its public key, and whether the secret one is here too."""

    name: str
    public_key: str
    pair: Literal["here", "unusable", "elsewhere"]


class _Keys(click.Group):
    """Without a command it is ``list``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        alone = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if alone else args)


@click.group("keys", cls=_Keys)
def command() -> None:
    """Make and list the keys with which the hosts of a backup authenticate. Without a command, list them.
    The commands recipient and structure are about the keys of encrypted archives.

    Each host has a pair, named as the configuration names the host, and the receiver has one. Only
    hosts whose public keys lie in the directory of the staging host are let in.
    """


_dir_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory of the keys. Default: that of the configuration, else /etc/mailhaul/keys.",
)


command.add_command(recipient.command)
command.add_command(structure.command)


@command.command("list")
@_dir_option
@json_option
@click.pass_obj
def list_keys(invocation: Invocation, directory: Path | None, as_json: bool) -> int:
    """List the keys of this host, and what is wrong with them.

    \b
    Example: who is let in here
      mailhaul keys list --dir /etc/mailhaul/keys
    """
    place = _directory(invocation, directory)
    if not place.is_dir():
        raise AccessError(
            f"{place}: there is no such directory; `mailhaul keys make {RECEIVER} HOST...` makes keys",
            path=str(place),
        )
    keys, problems = _look(place)
    for problem in problems:
        note(problem)
    if as_json:
        output.print_json({"directory": place, "keys": keys, "problems": problems})
    else:
        output.print_table(_COLUMNS, map(_row, keys))
    return EXIT_FAILED if problems else EXIT_OK


@command.command("make")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_dir_option
@json_option
@click.pass_obj
def make(invocation: Invocation, names: Sequence[str], directory: Path | None, as_json: bool) -> int:
    """Make a pair of keys for each NAME: a host, or receiver. Nothing is overwritten.

    \b
    Example: the receiver, and two hosts with mail
      mailhaul keys make receiver store01 store02
    """
    place = _directory(invocation, directory)
    _check_names(place, names)
    made = [_Key(name=name, public_key=make_pair(place, name).public, pair="here") for name in names]
    copies = [
        {"host": name, "files": [f"{name}{_PAIR}", RECEIVER + _PUBLIC]} for name in names if name != RECEIVER
    ]
    if as_json:
        output.print_json({"directory": place, "made": made, "copy": copies})
        return EXIT_OK
    say(f"made {counted(len(made), 'pair')} of keys in {place}: {', '.join(names)}")
    say(f"on the staging host stay {RECEIVER}{_PAIR} and every NAME{_PUBLIC}")
    for copy in copies:
        say(f"to the host {copy['host']} go {' and '.join(copy['files'])}, nothing else")
    if copies:
        say("a secret key is wanted on its own host only: remove it here when it was copied elsewhere")
    return EXIT_OK


def _directory(invocation: Invocation, given: Path | None) -> Path:
    if given is not None:
        return given.absolute()
    if invocation.config is None and not any(place.exists() for place in PLACES):
        return StagingConfig(path=Path()).keys  # a mail host needs no configuration
    return configured(invocation).staging.keys


def _check_names(directory: Path, names: Sequence[str]) -> None:
    """Raise UsageError before anything is made, rather than with half of it made."""
    for place, name in enumerate(names):
        if not is_name(name):
            raise UsageError(f"{name!r} can't name a key: letters, digits, '.', '_' and '-' only")
        if name in names[:place]:
            raise UsageError(f"{name} is named twice")
        for file in (directory / f"{name}{_PUBLIC}", directory / f"{name}{_PAIR}"):
            if file.exists():
                raise UsageError(
                    f"{file} is there already, and is not overwritten: remove it, or choose --dir"
                )


def _look(directory: Path) -> tuple[list[_Key], list[str]]:
    """The keys in a directory, by name, and what is wrong with them or with their files, in words."""
    problems: list[str] = []
    allowed = read_allowed(directory, lambda error: problems.append(error.message))
    public = {name: key for key, name in allowed.items()}
    pairs: dict[str, str | None] = {}
    for file in _named(directory, _PAIR):
        name = file.name.removesuffix(_PAIR)
        try:
            pairs[name] = read_pair(directory, name).public
        except AccessError as error:
            pairs[name] = None
            problems.append(error.message)
    problems += [
        f"{directory / name}{_PUBLIC}: does not belong to {name}{_PAIR}"
        for name in sorted(public.keys() & pairs.keys())
        if pairs[name] not in (None, public[name])
    ]
    problems += [
        f"{path}: others may write here, and so let themselves in: chown root {path}; chmod go-w {path}"
        for path in (directory, *_named(directory, _PUBLIC))
        if _lies_open(path)
    ]
    return [_key(name, public, pairs) for name in sorted(public.keys() | pairs.keys())], problems


def _named(directory: Path, suffix: str) -> Iterable[Path]:
    return sorted(file for file in directory.iterdir() if file.name.endswith(suffix))


def _lies_open(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False  # a link that leads nowhere was reported as a key that can't be read
    return bool(status.st_mode & _WRITABLE_BY_OTHERS) or status.st_uid not in (0, os.geteuid())


def _key(name: str, public: Mapping[str, str], pairs: Mapping[str, str | None]) -> _Key:
    if name not in pairs:
        return _Key(name=name, public_key=public[name], pair="elsewhere")
    found = pairs[name]
    return _Key(name=name, public_key=public.get(name) or found or "", pair="here" if found else "unusable")


def _row(key: _Key) -> Sequence[str]:
    return output.name(key.name), key.public_key or "?", key.pair
