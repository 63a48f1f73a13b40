"""``mailhaul sweep``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_OK, EXIT_SKIPPED
from ...proto.records import Progress, Skipped
from ...worker.destinations.settings import Destination
from ..clock import utc
from ..erasing.copies import look_again
from ..hooks import NO_HOOKS
from ..mailbox_secrets import has_vault
from ..settings import RetentionConfig, SweepConfig, SweepRules
from ..sweeping.report import DestinationReport, SweepObserver, SweepReport, SweepRequest
from . import adapters, output
from .asking import Asked
from .configuration import chosen_site, configured
from .kept_elsewhere import facts, tell_unneeded
from .nothing_to_do import is_nothing_to_do
from .options import destination_option, json_option, path_argument, staging_option
from .output import Column, counted, note, number, say, size
from .program import Invocation
from .progress import Amount, Display, make_display
from .workers import prepare_sweep

_LISTED = 20
"""So many of a kind are listed for people; JSON has all."""


@click.command("sweep")
@path_argument
@click.option(
    "--to", metavar="NAME", default="", help="Only to this destination, at once, whatever the rules."
)
@click.option("--dry-run", is_flag=True, help="Show what would be copied and freed, and change nothing.")
@staging_option
@destination_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    to: str,
    dry_run: bool,
    staging: Path | None,
    destinations: Sequence[Destination],
    as_json: bool,
) -> int:
    """Copy archives from the staging area to their destinations, and free the space of those that have
    all their copies.

    Which archives go where, and when, is configured ([sweep]). What is copied is checked before and compared
    afterwards; a copy counts when it was still there at a later look. Runs, restores and purges go on
    meanwhile. What could not be done is done by the next sweep.

    \b
    Example: bring everything to a disk that is carried away tonight.
      mailhaul sweep --to disk
    """
    site = chosen_site(invocation, staging, destinations)
    if is_nothing_to_do(site.area, site.destinations, "to sweep", as_json=as_json):
        return EXIT_OK
    if not dry_run:
        prepare_sweep(site.destinations)
    from ..sweeping.sweep import rehearse, sweep  # while the workers load their part

    config = configured(invocation) if staging is None else None
    named = SweepConfig(rules=SweepRules(copies=tuple(destination.name for destination in site.destinations)))
    request = SweepRequest(
        path=path,
        to=to,
        config=config.sweep if config else named,
        retention=config.retention if config else RetentionConfig(),
        destinations=site.destinations,
        reserve_bytes=config.staging.reserve_bytes if config else 0,
    )
    troubles: tuple[str, ...] = ()
    hooks = adapters.hooks(config) if config else NO_HOOKS
    if dry_run:
        report = rehearse(site.area, request, _now)
    else:
        with (
            make_display(adapters.clock(), as_json=as_json) as display,
            hooks.around("sweep", {"path": str(path), "to": to}) as around,
        ):
            asked = Asked(site.area, hooks)
            report = sweep(site.area, request, adapters.make_lanes, _now, Shown(display, asked))
            asked()
            look_again(site.area, site.destinations, _now())
            around.facts.update(report.facts())
        troubles = (*asked.troubles, *around.troubles)
    if as_json:
        output.print_json({"dry_run": dry_run, **_document(report), "troubles": troubles})
    else:
        _tell(report, dry_run=dry_run)
    for trouble in troubles:
        note(output.shown(trouble))
    if has_vault(site.area):
        from ..vault_copies import vault_notice  # whose mailboxes are not erasable does without

        if told := vault_notice(site.area, site.destinations):
            note(output.shown(told))
    return report.exit_code or (EXIT_SKIPPED if troubles else EXIT_OK)


def _now() -> datetime:
    return utc(adapters.clock().now())


class Shown(SweepObserver):
    """The course of a sweep on stderr."""

    def __init__(self, display: Display, asked: Asked) -> None:
        self._display = display
        self._asked = asked

    def copying(self, batches: Mapping[str, int]) -> None:
        """See SweepObserver."""
        self._display.begin({batch: Amount(0, size_bytes) for batch, size_bytes in batches.items()})

    def progress(self, progress: Progress) -> None:
        """See SweepObserver."""
        self._display.progress(progress)

    def copied(self, batch: str, copied_bytes: int) -> None:
        """See SweepObserver."""
        self._display.end(batch, Amount(0, copied_bytes))

    def stopped(self, destination: str, why: str) -> None:
        """See SweepObserver."""
        self._display.say(f"{destination} is left alone: {output.shown(why)}")
        self._asked()

    def waiting(self, reason: str) -> None:
        """See SweepObserver."""
        self._display.say(f"waiting: {reason}")


def _document(report: SweepReport) -> dict[str, object]:
    return {
        "destinations": report.destinations,
        "damaged": report.damaged,
        "freed": report.freed,
        "freed_bytes": report.freed_bytes,
        "left": report.left,
        "unneeded": facts(report.unneeded),
    }


def _tell(report: SweepReport, *, dry_run: bool) -> None:
    output.print_table(
        [
            Column("destination", "<"),
            Column("to copy" if dry_run else "copied"),
            Column("bytes"),
            Column("to look at" if dry_run else "count now"),
            Column("lost"),
            Column("removed"),
            Column("left for later"),
        ],
        [
            (
                destination_report.name,
                number(destination_report.copied),
                size(destination_report.copied_bytes),
                number(destination_report.looked),
                number(len(destination_report.lost)),
                number(destination_report.removed),
                number(destination_report.waiting),
            )
            for destination_report in report.destinations
        ],
    )
    for destination in report.destinations:
        tell_destination(destination)
    output.list_skipped(report.damaged, "damaged, and not copied")
    if report.left:
        note(
            f"{counted(len(report.left), 'archive')} can't leave the staging area yet, as archives are being "
            "read: the next sweep does it"
        )
    tell_unneeded(report.unneeded)
    would = "would leave" if dry_run else "left"
    say(f"{counted(len(report.freed), 'archive')} {would} the staging area: {size(report.freed_bytes)}")


def tell_destination(report: DestinationReport) -> None:
    """What of a sweep has to be said beside the counts."""
    if report.stopped is not None:
        note(f"{report.name} was left alone: {output.shown(report.stopped.detail)}")
    for name in report.lost[:_LISTED]:
        note(f"{report.name}: {output.shown(name)} is not there any more: it is copied again")
    if len(report.lost) > _LISTED:
        note(f"{report.name}: and {number(len(report.lost) - _LISTED)} more (--json lists all)")
    failed: tuple[Skipped, ...] = tuple(report.failed)
    output.list_skipped(failed, f"not done at {report.name}")
    if report.out_of_reach:
        note(
            f"{report.name} is to have {counted(report.out_of_reach, 'archive')} more, which have "
            "to be brought first: volumes that are asked for (`mailhaul status`), or what another program "
            "keeps and `mailhaul recall` asks for; a later sweep copies them"
        )
    output.list_skipped(report.unlocked, f"not locked at {report.name}")
    if report.locks:
        say(f"{report.name}: {counted(report.locks, 'lock')} set or extended")
    if report.refused:
        note(
            f"{report.name} does not remove what nobody needs: {output.shown(report.refused[0].detail)}: "
            "do it with a key that may (docs/operations.md)"
        )
    if report.locked:
        until = max((when for _, when in report.locked if when is not None), default=None)
        note(
            f"{report.name} keeps {counted(len(report.locked), 'copy', 'copies')} that nobody needs, the "
            f"last until {output.moment(until)}"
        )
