"""``mailhaul purge``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_LOCKED, EXIT_OK, DamagedError
from ...proto.records import ArchiveId, Progress
from ...worker.archives.holdings import Holdings
from ..purging.plan import ScopePlan
from ..purging.purge import purge, rehearse
from ..purging.report import PurgeObserver, PurgeReport, PurgeRequest
from ..retention import RetentionRules
from ..settings import ArchiveConfig, RetentionConfig
from . import adapters, output
from .configuration import configured, default_workers, staging_area
from .erase_everywhere import go_on_with_erasures
from .kept_elsewhere import facts, tell_outdated, tell_unneeded
from .nothing_to_do import is_nothing_to_do
from .options import identity_options, json_option, path_argument, staging_option, workers_option
from .output import Column, counted, note, number, say, size
from .program import Invocation
from .progress import Amount, Display, make_display
from .sources import unlock_with

_LISTED = 20
"""So many files are listed for people; JSON has all."""

_count = click.IntRange(min=1)


@click.command("purge")
@path_argument
@click.option("--dry-run", is_flag=True, help="Show exactly what would be deleted, and change nothing.")
@click.option("--last", type=_count, metavar="N", help="Keep the last N runs.")
@click.option("--daily", type=_count, metavar="N", help="Keep the newest run of each of N days.")
@click.option("--weekly", type=_count, metavar="N", help="... of N weeks.")
@click.option("--monthly", type=_count, metavar="N", help="... of N months.")
@click.option("--yearly", type=_count, metavar="N", help="... of N years.")
@staging_option
@workers_option
@identity_options
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    dry_run: bool,
    last: int | None,
    daily: int | None,
    weekly: int | None,
    monthly: int | None,
    yearly: int | None,
    staging: Path | None,
    workers: int | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Delete the runs that the retention rules do not keep, and free the space that only they need.

    The rules apply to each group below PATH (a partition or group, or all); rules given as options replace
    all that are configured. What is held stays, and so does the newest state of every mailbox that is not
    gone from the store.

    Of encrypted archives that are written anew, blocks of mail of which anything is needed stay whole; with a
    private key (--identity) what is not needed of them goes, too.

    \b
    Example: what would be deleted, and how much space would that free?
      mailhaul purge --dry-run --daily 14 --weekly 8 --monthly 12
    """
    area = staging_area(invocation, staging)
    config = configured(invocation) if staging is None else None
    retention = config.retention if config else RetentionConfig()
    given = RetentionRules(last=last, daily=daily, weekly=weekly, monthly=monthly, yearly=yearly)
    request = PurgeRequest(
        path=path,
        rules_of=retention.of_group if given.keep_all else lambda _group: given,
        compact_below=retention.compact_below,
        archive=config.archive if config else ArchiveConfig(),
        unlock=unlock_with(identities, passphrase_files, at_hand=invocation.identity),
    )
    if is_nothing_to_do(area, config.destinations if config else (), "to purge", as_json=as_json):
        return EXIT_OK
    engine = adapters.make_engine(workers or default_workers())
    if not dry_run:
        from .restore_undo import let_go  # half a second of imports, which --help does without

        let_go(area)

    def brought_back(holdings: Holdings, archives: Sequence[ArchiveId]) -> object:
        from .recalling import bring_back  # which most purges do without

        return bring_back(
            invocation, staging, holdings, archives, workers or default_workers(), 0.0, as_json=as_json
        )

    with make_display(adapters.clock(), as_json=as_json) as display:
        report = (rehearse if dry_run else purge)(area, request, engine, Shown(display))
        if not dry_run:
            go_on_with_erasures(area, config, request.unlock, brought_back, engine, display)
    if as_json:
        output.print_json({"dry_run": dry_run, **_document(report)})
    else:
        _tell(report, dry_run=dry_run)
    return _exit_status(report)


class Shown(PurgeObserver):
    """The course of a purge on stderr."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def surveying(self, archives: int) -> None:
        """See PurgeObserver."""
        self._display.say(f"reading the metadata of {counted(archives, 'archive')}")

    def compacting(self, files: Mapping[str, int]) -> None:
        """See PurgeObserver."""
        self._display.begin({file: Amount(0, size_bytes) for file, size_bytes in files.items()})

    def progress(self, progress: Progress) -> None:
        """See PurgeObserver."""
        self._display.progress(progress)

    def compacted(self, file: str, new_bytes: int) -> None:
        """See PurgeObserver."""
        self._display.end(file, Amount(0, new_bytes))

    def waiting(self, reason: str) -> None:
        """See PurgeObserver."""
        self._display.say(f"waiting: {reason}")


def _exit_status(report: PurgeReport) -> int:
    if any(skip.reason == DamagedError.code for skip in report.failed):
        return EXIT_DAMAGED
    if report.failed:
        return EXIT_FAILED
    return EXIT_LOCKED if report.left else EXIT_OK


def _document(report: PurgeReport) -> dict[str, object]:
    return {
        "groups": [
            {
                "partition": scope.partition,
                "group": scope.group,
                "kept": [{"run": run, "reasons": why} for run, why in scope.kept.items()],
                "purged": scope.forgotten,
            }
            for scope in report.scopes
        ],
        "holds": report.holds,
        "versions": report.versions,
        "deleted": report.deleted,
        "compacted": report.compacted,
        "failed": report.failed,
        "left": report.left,
        "unneeded": facts(report.unneeded),
        "outdated": facts(report.outdated),
        "free_bytes": report.free_bytes,
        "away": report.away,
    }


def _tell(report: PurgeReport, *, dry_run: bool) -> None:
    for scope in report.scopes:
        _tell_scope(scope)
    if report.holds:
        by = Counter("alarm" if hold.automatic else "hold" for hold in report.holds)
        told = " and ".join(counted(count, kind) for kind, count in by.items())
        say(f"{told} {'keeps' if len(report.holds) == 1 else 'keep'} more (`mailhaul hold` lists them)")
    _tell_files("deleted", [f"{deleted.file}, {size(deleted.size_bytes)}" for deleted in report.deleted])
    _tell_files(
        "rewritten",
        [
            f"{compacted.new_file}, {size(compacted.new_bytes)} instead of {size(compacted.size_bytes)}"
            for compacted in report.compacted
        ],
    )
    tell_outdated(report.outdated)
    tell_unneeded(report.unneeded)
    output.list_skipped(report.failed, "left as it is")
    if report.left:
        note(
            f"{counted(len(report.left), 'file')} can't be deleted yet, as archives are being read: "
            "the next purge does it"
        )
    for leftovers in report.away:
        locked = (
            f", locked until {output.moment(leftovers.locked_until)} at the latest"
            if leftovers.locked_until
            else ""
        )
        say(
            output.shown(
                f"at {leftovers.place} nobody needs {counted(leftovers.copies, 'copy', 'copies')} "
                f"({size(leftovers.size_bytes)}{locked}): sweeps remove them"
            )
        )
    would = "would come free" if dry_run else "came free"
    say(
        f"{counted(sum(len(plan.forgotten) for plan in report.scopes), 'run')} and "
        f"{counted(report.versions, 'version')} of mailboxes "
        f"{'would be ' if dry_run else ''}dropped, "
        f"{counted(len(report.deleted), 'archive')} deleted, {number(len(report.compacted))} rewritten: "
        f"{size(report.free_bytes)} {would}"
    )


def _tell_scope(scope: ScopePlan) -> None:
    name = f"/{output.name(scope.partition)}/{output.name(scope.group)}"
    say(
        f"{name}: {counted(len(scope.kept) + len(scope.forgotten), 'run')}, "
        f"{number(len(scope.kept))} stay, {number(len(scope.forgotten))} go"
    )
    rows = {run: ("stays", ", ".join(why)) for run, why in scope.kept.items()}
    rows.update((run, ("goes", "")) for run in scope.forgotten)
    output.print_table(
        [Column("run", "<"), Column("", "<"), Column("why", "<")],
        [(run, *rows[run]) for run in sorted(rows)],
    )
    say()


def _tell_files(what: str, files: Sequence[str]) -> None:
    for file in files[:_LISTED]:
        say(output.shown(f"{what}: {file}"))
    if len(files) > _LISTED:
        say(f"{what}: and {number(len(files) - _LISTED)} more (--json lists all)")
