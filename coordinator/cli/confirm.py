"""``mailhaul confirm``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, DamagedError
from ...worker.destinations.settings import Destination
from ..clock import utc
from ..confirming import Confirmation, Kept, all_kept, check_location, confirm, forget
from . import adapters, output
from .configuration import chosen_site
from .options import destination_option, json_option, refuse, staging_option
from .output import Column, counted, note, say, shown, size
from .program import Invocation
from .times import both

_KEPT = [
    Column("archive", "<"),
    Column("size"),
    Column("kept at", "<"),
    Column("since", "<"),
    Column("", "<"),
]


@click.command("confirm")
@click.argument("what", nargs=-1, metavar="[RUN|ARCHIVE]...")
@click.option("--location", metavar="TEXT", help="Where that program keeps it, in words.")
@click.option(
    "--forget", "to_forget", is_flag=True, help="It is not kept there any more: the tape is gone, or worn."
)
@staging_option
@destination_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    what: tuple[str, ...],
    location: str | None,
    to_forget: bool,
    staging: Path | None,
    destinations: Sequence[Destination],
    as_json: bool,
) -> int:
    """Record that another program has taken archives, so that they count as copies in the place "confirmed"
    and a sweep can free their staging space. Without arguments, list what is recorded.

    RUN (its id, or latest) stands for the archives that it has sealed; ARCHIVE is the name of a file in the
    staging area, or 8 or more digits of an archive's id. Each archive is read first; what is damaged is
    refused. Confirm only what the other program has called successful itself. A later confirmation of an
    archive replaces the earlier one.

    With --forget, what was confirmed of RUN or ARCHIVE, or of everything at one location, counts no more.

    \b
    Example: the tape program has taken the last run
      mailhaul confirm latest --location "LTO 000017"
    """
    site = chosen_site(invocation, staging, destinations)
    where = None if location is None else check_location(location)
    if to_forget:
        refuse(not what and where is None, "--forget: say which RUN, ARCHIVE or --location")
        return _tell_kept(forget(site.area, what, where), forgotten=True, as_json=as_json)
    if not what:
        refuse(where is not None, "--location is that of archives: name the RUN or ARCHIVE")
        return _tell_kept(all_kept(site.area), forgotten=False, as_json=as_json)
    refuse(where is None, "say where the program keeps it: --location TEXT")
    done = confirm(
        site.area,
        what,
        where or "",
        site.destinations,
        utc(adapters.clock().now()),
        lambda record: None if as_json else note(f"reading {shown(record.name)}"),
    )
    return _tell(done, where or "", as_json=as_json)


def _tell(done: Confirmation, location: str, *, as_json: bool) -> int:
    output.list_skipped(done.refused, "not confirmed")
    if as_json:
        output.print_json({"location": location, "confirmed": done.confirmed, "refused": done.refused})
    else:
        total = size(sum(kept.size_bytes for kept in done.confirmed))
        say(shown(f"{counted(len(done.confirmed), 'archive')} confirmed at {location}: {total}"))
    if any(skip.reason == DamagedError.code for skip in done.refused):
        return EXIT_DAMAGED
    if done.refused:
        return EXIT_SKIPPED if done.confirmed else EXIT_FAILED
    return EXIT_OK


def _tell_kept(kept: Sequence[Kept], *, forgotten: bool, as_json: bool) -> int:
    if as_json:
        output.print_json({"forgotten" if forgotten else "confirmed": kept})
    elif forgotten:
        say(f"what was confirmed of {counted(len(kept), 'archive')} counts no more")
    elif kept:
        output.print_table(_KEPT, map(_row, kept))
    else:
        say("nothing is confirmed")
    if forgotten and (gone := [one for one in kept if one.last]):
        note(
            f"there is no other copy of {counted(len(gone), 'archive')}: the next backup reads again what "
            "the mailboxes still have of that"
        )
    return EXIT_OK


def _row(kept: Kept) -> Sequence[str]:
    state = "written anew since: does not count" if kept.outdated else "the only copy" if kept.last else ""
    return shown(kept.name), size(kept.size_bytes), shown(kept.location), both(kept.since), state
