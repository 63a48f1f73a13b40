"""``mailhaul destination``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, BackupError
from ...proto.structs import Record, replace
from ...worker.destinations.checking import check as check_destination
from ...worker.destinations.registry import free_bytes, open_destination
from ...worker.destinations.settings import Destination
from ..adopting import adopt
from ..clock import utc
from ..destinations import named, ready, take_into_use
from ..sweeping.strays import last_strays
from . import adapters, output
from .configuration import chosen_site
from .options import destination_option, json_option, staging_option
from .output import Column, counted, note, number, say, shown, size
from .program import Invocation

_LISTED = [
    Column("name", "<"),
    Column("kind", "<"),
    Column("files"),
    Column("size"),
    Column("free"),
    Column("where", "<"),
]


class _Listed(Record, kw_only=True):
    """A destination and what is there; ``error`` says why that is not known."""

    name: str
    kind: str
    where: str
    files: int | None = None
    size_bytes: int | None = None
    free_bytes: int | None = None
    error: str = ""


@click.group("destination")
def command() -> None:
    """List, check and take over the places where archives are kept for good.

    They are configured by [[destination]] tables, or named beside --staging.

    \b
    Example: a new disk, and how much is on it later
      mailhaul destination check vault
      mailhaul destination list
    """


@command.command("list")
@staging_option
@destination_option
@json_option
@click.pass_obj
def list_command(
    invocation: Invocation, staging: Path | None, destinations: Sequence[Destination], as_json: bool
) -> int:
    """List the destinations, and how much is there.

    Each is asked, so this takes its time where there are many files.

    \b
    Example:
      mailhaul destination list
    """
    chosen = chosen_site(invocation, staging, destinations)
    listed = [_list(ready(destination, chosen.area)) for destination in chosen.destinations]
    if as_json:
        output.print_json({"destinations": listed})
    elif listed:
        output.print_table(_LISTED, map(_row, listed))
    else:
        say("there are no destinations")
    for one in listed:
        if one.error:
            note(shown(one.error))
    return EXIT_FAILED if any(one.error for one in listed) else EXIT_OK


@command.command("check")
@click.argument("name")
@staging_option
@destination_option
@json_option
@click.pass_obj
def check_command(
    invocation: Invocation,
    name: str,
    staging: Path | None,
    destinations: Sequence[Destination],
    as_json: bool,
) -> int:
    """Find out whether the destination NAME does what is asked of it, with a file that is written, read back
    and removed. A new one is made that of this staging area; a directory that is not there is made.

    \b
    Example: a new disk is mounted at the path of the destination vault
      mailhaul destination check vault
    """
    chosen = chosen_site(invocation, staging, destinations)
    settings = take_into_use(named(chosen.destinations, name), chosen.area)
    findings = check_destination(settings)
    strays = last_strays(chosen.area, name)
    if as_json:
        output.print_json(
            {
                "destination": name,
                "findings": {one.what: one.found for one in findings},
                "unknown": strays.found if strays else (),
            }
        )
    else:
        for finding in findings:
            say(shown(f"{name}: {finding.what}: {finding.found}"))
        for stray in strays.found if strays else ():
            when = output.moment(stray.since)
            note(f"{shown(stray.location.name)}: an archive that the catalog does not know, since {when}")
    return EXIT_OK


@command.command("adopt")
@click.argument("name")
@staging_option
@destination_option
@json_option
@click.pass_obj
def adopt_command(
    invocation: Invocation,
    name: str,
    staging: Path | None,
    destinations: Sequence[Destination],
    as_json: bool,
) -> int:
    """Take over what lies at the destination NAME, also if it was one of another staging area: it is that of
    this one from now on, and its copies of archives that the catalog knows are entered there.

    Each archive is opened, none is read as a whole: `mailhaul verify` does that.

    \b
    Example: a disk with archives was carried here
      mailhaul destination adopt vault
    """
    chosen = chosen_site(invocation, staging, destinations)
    done = adopt(named(chosen.destinations, name), chosen.area, utc(adapters.clock().now()))
    if as_json:
        output.print_json(
            {
                "destination": name,
                "entered": done.entered,
                "known": done.known,
                "unknown": done.unknown,
                "damaged": done.damaged,
                "others": done.others,
            }
        )
    else:
        say(
            f"{name}: {counted(done.entered, 'copy', 'copies')} entered, {number(done.known)} known already, "
            f"{counted(done.others, 'other file')}"
        )
    output.list_skipped(done.damaged, "damaged")
    for one in done.unknown:
        note(f"{shown(one)}: an archive that the catalog does not know")
    if done.damaged:
        return EXIT_DAMAGED
    return EXIT_SKIPPED if done.unknown else EXIT_OK


def _list(settings: Destination) -> _Listed:
    listed = _Listed(name=settings.name, kind=settings.kind, where=settings.where)
    files = size_bytes = 0
    try:
        with closing(open_destination(settings)) as place:
            for copy in place.list():
                files += 1
                size_bytes += copy.size_bytes
            free = free_bytes(place)
    except BackupError as error:
        return replace(listed, error=error.message)
    return replace(listed, files=files, size_bytes=size_bytes, free_bytes=free)


def _row(one: _Listed) -> Sequence[str]:
    files = "-" if one.files is None else number(one.files)
    sizes = ["-" if count is None else size(count) for count in (one.size_bytes, one.free_bytes)]
    return output.name(one.name), one.kind, files, *sizes, shown(one.where)
