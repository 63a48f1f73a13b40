"""``mailhaul erase``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import click

from ...proto.errors import EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, NotFoundError
from ...proto.records import RunId
from ...worker.destinations.settings import Destination
from ..clock import utc
from ..settings import ArchiveConfig
from . import adapters, output
from .configuration import chosen_site, configured, default_workers
from .erase_report import as_document, tell_certificate, tell_list, tell_plan
from .options import (
    destination_option,
    identity_options,
    json_option,
    refuse,
    staging_option,
    workers_option,
)
from .output import note, say
from .program import Invocation
from .progress import make_display


@click.command("erase")
@click.argument("who", required=False, metavar="[USER|PATH]")
@click.option("--reason", metavar="TEXT", help="Why; it is on record for good, so name nobody in it.")
@click.option("--dry-run", is_flag=True, help="Show what would go and what stays, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--resume", is_flag=True, help="End earlier erasures, as far as that can be done by now.")
@click.option(
    "--gone",
    metavar="PLACE",
    help="All is destroyed that was at this place, which is not configured any more, or that another program "
    "kept at this location.",
)
@click.option("--list", "to_list", is_flag=True, help="List the erasures, and what of them is due.")
@click.option("--certificate", metavar="ID", help="Show what was done in an erasure, and when.")
@staging_option
@destination_option
@identity_options
@workers_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    who: str | None,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    resume: bool,
    gone: str | None,
    to_list: bool,
    certificate: str | None,
    staging: Path | None,
    destinations: Sequence[Destination],
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    workers: int | None,
    as_json: bool,
) -> int:
    """Erase all that is stored of a user, or of one mailbox (PATH), for good: from all archives, wherever
    these can be rewritten or removed; what is locked, or on tape, is listed as due.

    A plan is shown first. What other mailboxes have too stays for these. What is held is not erased.
    Archives that hold anything that nobody needs are rewritten, at destinations too; for encrypted ones that
    may take a private key (--identity). The exit status is 0 only if nothing is left anywhere, and 3 if
    something is due.

    An erasure does not keep a mailbox out of later backups: remove it from the mail store first.

    \b
    Example: what would go?
      mailhaul erase jane@example.org --reason "request 2026-17" --dry-run
    """
    asked = sum((who is not None, resume, gone is not None, to_list, certificate is not None))
    refuse(asked != 1, "say who is to be erased; or one of --resume, --gone PLACE, --list, --certificate ID")
    refuse(who is not None and not (reason or "").strip(), "--reason TEXT: why this is erased is on record")
    refuse(who is None and (reason is not None or dry_run), "--reason and --dry-run are those of a USER")
    site = chosen_site(invocation, staging, destinations)
    if to_list:
        return tell_list(site.area, as_json=as_json)
    if certificate is not None:
        return tell_certificate(site.area, RunId(certificate), as_json=as_json)

    if gone is not None:
        from ..erasing.copies import look_again, note_destroyed

        if not note_destroyed(site.area, gone):
            raise NotFoundError(f"no erasure has anything due at {gone!r} that can't be removed from here")
        look_again(site.area, site.destinations, _now())
        return _told(site.area, None, as_json=as_json)

    from ..erasing.erasure import (
        erase,
        go_on,
        rehearse,
    )  # half a second of imports, which --help does without
    from ..erasing.report import ErasureMeans
    from .recalling import bring_back
    from .sources import unlock_with

    config = configured(invocation) if staging is None else None
    means = ErasureMeans(
        destinations=site.destinations,
        unlock=unlock_with(identities, passphrase_files),
        archive=config.archive if config else ArchiveConfig(),
        bring_back=lambda holdings, archives: bring_back(
            invocation, staging, holdings, archives, workers or default_workers(), 0.0, as_json=as_json
        ),
    )
    engine = adapters.make_engine(workers or default_workers())
    erasure: RunId | None = None
    if who is not None:
        plan = rehearse(site.area, who, means, _now(), engine)
        if not (as_json and not dry_run):
            tell_plan(plan, as_json=as_json)
        if dry_run:
            return EXIT_OK
        if not yes and not _agreed(who):
            note("nothing was changed")
            return EXIT_FAILED
    from .erase_everywhere import everywhere
    from .purge import Shown

    with make_display(adapters.clock(), as_json=as_json) as display:
        if who is not None:
            erasure = _erased(
                site.area, lambda: erase(site.area, plan, reason or "", means, _now(), engine, Shown(display))
            )
        else:
            go_on(site.area, means, _now(), engine, Shown(display))
        everywhere(site, config, display)
    return _told(site.area, erasure, as_json=as_json)


def _erased(area: Path, act: Callable[[], RunId]) -> RunId:
    """Where that ends in the middle, it is said that it goes on from there."""
    from ..erasing.record import erasure_ids

    before = erasure_ids(area)
    try:
        return act()
    except BaseException:
        if new := set(erasure_ids(area)) - set(before):
            note(f"erasure {max(new)} is on record, and not done: mailhaul erase --resume goes on with it")
        raise


def _agreed(who: str) -> bool:
    refuse(not sys.stdin.isatty(), "nobody can be asked here: --yes, after a look at --dry-run")
    typed: str = click.prompt(
        f"This can't be taken back. To erase it, type {output.shown(who)!r} again", err=True
    )
    return typed == who


def _now() -> datetime:
    return utc(adapters.clock().now())


def _told(area: Path, erasure: RunId | None, *, as_json: bool) -> int:
    """What became of it; of all that were not done before where none is named."""
    from ..erasing.progress import read_progress
    from ..erasing.record import read_erasures

    found = [
        (read_erasure, read_progress(area, read_erasure.erasure))
        for read_erasure in read_erasures(area)
        if erasure in (None, read_erasure.erasure)
    ]
    if as_json:
        output.print_json({"erasures": [as_document(*one) for one in found]})
    else:
        for one, progress in found:
            if erasure is not None or progress.state != "done":
                tell_certificate(area, one.erasure, as_json=False)
        if not any(progress.state != "done" for _, progress in found) and erasure is None:
            say("nothing is due")
    return EXIT_OK if all(progress.state == "done" for _, progress in found) else EXIT_SKIPPED
