"""What ``restore --dry-run`` tells with ``--state-only`` and ``--exact``: how much would change, and what
could not."""

from __future__ import annotations

from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ..backup_set import BackupSet
from ..restore_plan import RestorePlan
from ..restores.failures import failure_of
from . import output
from .output import counted, number, say
from .restoring import Done


def tell_state(done: Done, plan: RestorePlan, backup: BackupSet, *, exact: bool, as_json: bool) -> int:
    """Print what a restore of state would do, or an ``exact`` one; the exit status."""
    report = done.report
    damaged = (*backup.damaged, *report.damaged)
    output.list_skipped(damaged, "damaged")
    output.list_skipped(report.skipped, "would be left")
    if as_json:
        output.print_json(
            {
                "dry_run": True,
                "mailboxes": len(plan.mailboxes),
                "messages": report.restored + report.present,
                "restored": report.restored,
                "flagged": report.flagged,
                "moved": report.moved,
                "aside": report.aside,
                "present": report.present,
                "subscriptions": report.files,
                "skipped": [failure_of(skip) for skip in report.skipped],
                "damaged": [failure_of(one, damaged=True) for one in damaged],
            }
        )
    else:
        whose = counted(len(plan.mailboxes), "mailbox", "mailboxes")
        what = "come back" if exact else "change"
        say(
            f"{whose}: {counted(report.restored, 'message')} would {what}, "
            f"{number(report.present)} are as they would be"
        )
        say(f"  flags or keywords   {number(report.flagged):>12}")
        say(f"  back to a folder    {number(report.moved):>12}")
        if report.aside:
            say(f"  set aside           {number(report.aside):>12}")
        say(f"  subscriptions       {counted(report.files, 'mailbox', 'mailboxes'):>12}")
    return EXIT_DAMAGED if damaged else EXIT_OK
