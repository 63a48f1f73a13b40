"""``mailhaul recall``."""

from __future__ import annotations

from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_FAILED, EXIT_OK
from ...proto.records import Skipped
from ...worker.destinations.settings import Destination
from ..backup_set import needs_of, opened
from . import output
from .configuration import default_workers
from .options import (
    PATH,
    at_option,
    destination_option,
    from_option,
    host_option,
    identity_options,
    json_option,
    staging_option,
    wait_option,
    workers_option,
)
from .output import counted, say, size
from .program import Invocation
from .recalling import bring_back
from .sources import chosen_backup, named_paths, unlock_with


@click.command("recall")
@click.argument("paths", type=PATH, nargs=-1, metavar="[PATH...]")
@host_option
@at_option
@from_option
@wait_option
@workers_option
@staging_option
@destination_option
@identity_options
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    paths: tuple[LogicalPath, ...],
    host: str | None,
    at: str | None,
    only: str | None,
    wait: float,
    workers: int | None,
    staging: Path | None,
    destinations: tuple[Destination, ...],
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Bring archives back into the staging area that a restore of each PATH needs.

    A restore does so by itself where it has to. Broken off and begun again, it goes on: what has arrived
    stays, and what was asked for is not asked for again.

    \b
    Example: what it takes to restore a group as it was on a day
      mailhaul recall /primary/staff --at 2026-11-20
    """
    chosen = named_paths(invocation, paths, host, at=at, files=(), staging=staging)
    with chosen_backup(
        invocation,
        chosen,
        at=at,
        files=(),
        staging=staging,
        destinations=destinations,
        only=only,
        unlock=unlock_with(identities, passphrase_files),
    ) as backup:
        with opened(backup) as archives:
            needs = [
                need
                for path in chosen
                for version in backup.select(path)
                for need in needs_of(backup, archives, version)
            ]
        recalled = bring_back(
            invocation, staging, backup.archives, needs, workers or default_workers(), wait, as_json=as_json
        )
    failed = [
        Skipped(backup.needed_file(archive).file or archive.hex(), error.code, error.message)
        for archive, error in recalled.failed
    ]
    output.list_skipped(failed, "not recalled")
    if as_json:
        output.print_json(
            {
                "archives": [name for _, name in recalled.now],
                "size_bytes": recalled.size_bytes,
                "failed": failed,
            }
        )
    else:
        there = counted(len(recalled.now), "archive")
        say(f"{there} in the staging area, {size(recalled.size_bytes)} recalled")
    return EXIT_FAILED if failed else EXIT_OK
