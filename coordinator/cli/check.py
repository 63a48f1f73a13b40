"""``mailhaul check``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK, EXIT_SKIPPED
from ...proto.records import Partition
from ...worker.destinations.settings import Destination
from ...worker.live.findings import Finding
from ...worker.tasks.live import LiveCheckReport, LiveCheckTask
from ..dispatch.engine import Outcome
from ..live_check import CheckedMailbox, LiveState, Whole, run_checks
from . import adapters, output
from .checking import Where, damage_document, open_check
from .options import (
    PATH,
    at_option,
    destination_option,
    identity_options,
    json_option,
    staging_option,
    store_option,
    workers_option,
)
from .output import Column, counted, duration, number, say
from .program import Invocation
from .progress import Amount, make_display, watched
from .sources import unlock_with

_FOUND = [(Column("damage", "<"), 9), (Column("path", "<"), 40), (Column("what", "<"), 4)]
_PARTITIONS = [
    Column("partition", "<"),
    Column("host", "<"),
    Column("mailboxes"),
    Column("messages"),
    Column("damaged"),
    Column("new"),
    Column("gone"),
    Column("untold"),
]


@click.command("check")
@click.argument("paths", type=PATH, nargs=-1, metavar="[PATH]...")
@at_option
@click.option("--data", is_flag=True, help="Read the content of every message and compare it.")
@store_option
@workers_option
@staging_option
@destination_option
@identity_options
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    paths: tuple[LogicalPath, ...],
    at: str | None,
    data: bool,
    store: Partition | None,
    workers: int | None,
    staging: Path | None,
    destinations: tuple[Destination, ...],
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Look whether the mail store still has what the newest backup of PATH has (or that of --at), changing
    nothing: what is missing, truncated, changed under its name, or not in its server's list of UIDs.

    Mail that came since is no damage, and none that its server has on record as removed. Sizes and times are
    compared, and the content where a time differs.

    \b
    Example: after a crash, then mend what was found
      mailhaul check /primary --json > damaged.json
    """
    paths = paths or (LogicalPath(),)
    clock = adapters.clock()
    began = clock.monotonic()
    where = Where(
        store=store,
        staging=staging,
        destinations=destinations,
        at=at,
        workers=workers,
        unlock=unlock_with(identities, passphrase_files),
    )
    with (
        open_check(invocation, paths, where, data=data) as check,
        make_display(clock, as_json=as_json) as display,
    ):
        planned = check.planned
        display.begin(
            {
                planned_check.task.label: Amount(planned_check.messages, planned_check.size_bytes)
                for planned_check in planned
            }
        )
        state = run_checks(planned, watched(check.engine, display, _ended), display.progress)
    seconds = clock.monotonic() - began
    if as_json:
        head = {"moment": check.moment, "data": data, "seconds": round(seconds, 3)}
        output.print_json({**head, **_document(state)})
    else:
        _tell(state, check.moment, seconds)
    output.list_skipped(check.backup.damaged, "damaged in the backup")
    output.list_skipped(state.unlooked, "not looked at")
    total = state.total()
    if total.damaged or total.damaged_mailboxes or check.backup.damaged:
        return EXIT_DAMAGED
    return EXIT_SKIPPED if state.unlooked or total.untold else EXIT_OK


def _ended(outcome: Outcome[LiveCheckTask, LiveCheckReport]) -> tuple[str, Amount]:
    found = outcome.report.mailboxes if outcome.report else ()
    amount = Amount(sum(one.messages for one in found), sum(one.size_bytes for one in found))
    return outcome.task.label, amount


def _tell(state: LiveState, moment: str, seconds: float) -> None:
    damaged = list(state.damaged)
    if damaged:
        output.stream_table(_FOUND, _rows(damaged))
        say()
    parts = state.by_partition()
    if len(parts) > 1:
        output.print_table(_PARTITIONS, [_row(part) for part in parts])
        say()
    total = state.total()
    say(f"compared with {moment} in {duration(seconds)}")
    for title, count, remark in (
        ("mailboxes", total.mailboxes, f"{number(total.damaged_mailboxes)} with damage"),
        ("messages", total.messages, "were stored"),
        ("damaged", total.damaged, ""),
        ("gone", total.gone, "were removed since" if total.gone else ""),
        ("untold", total.untold, "are gone, removed or lost: nothing tells" if total.untold else ""),
        ("new", total.new, "came since" if total.new else ""),
    ):
        say(f"  {title:<11} {number(count):>12}   {remark}".rstrip())


def _rows(damaged: Sequence[tuple[CheckedMailbox, Finding]]) -> Iterator[Sequence[str]]:
    for _, finding in damaged:
        of = "" if finding.is_message else f" ({counted(finding.messages, 'message')})"
        yield finding.kind.value, finding.path, output.shown(finding.detail) + of


def _row(whole: Whole) -> Sequence[str]:
    counts = (whole.mailboxes, whole.messages, whole.damaged, whole.new, whole.gone, whole.untold)
    return whole.partition, whole.host, *map(number, counts)


def _document(state: LiveState) -> dict[str, object]:
    """What was found; of mailboxes only those of which there is something to tell."""
    total = state.total()
    return {
        "mailboxes": total.mailboxes,
        "messages": total.messages,
        "damaged": [damage_document(mailbox, finding) for mailbox, finding in state.damaged],
        "damaged_messages": total.damaged,
        "gone": total.gone,
        "untold": total.untold,
        "new": total.new,
        "by_partition": state.by_partition(),
        "by_mailbox": [
            {
                "path": checked_mailbox.found.path,
                "partition": checked_mailbox.partition,
                "host": checked_mailbox.host,
                "messages": checked_mailbox.found.messages,
                "damaged": sum(found.messages for found in checked_mailbox.found.damaged),
                "gone": checked_mailbox.found.gone,
                "untold": checked_mailbox.found.untold,
                "new": checked_mailbox.found.new,
                "unlooked": len(checked_mailbox.found.unlooked),
            }
            for checked_mailbox in state.mailboxes
            if checked_mailbox.found.damaged or checked_mailbox.found.untold or checked_mailbox.found.unlooked
        ],
        "unlooked": state.unlooked,
    }
