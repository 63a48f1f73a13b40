"""``mailhaul restore --only-damaged``: the content of damaged messages, in place."""

from __future__ import annotations

from pathlib import Path

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_SKIPPED, UsageError
from ...proto.records import RestoreReport
from ...proto.structs import replace
from ...worker.tasks.live import MendTask
from ..backup_set import needs_of, opened
from ..dispatch.engine import Outcome
from ..live_check import PlannedCheck, plan_mending, run_mending
from ..recalling import to_recall
from ..unlocking import refuse_locked, refuse_without_vault
from . import adapters, output
from .checking import Checking, DamageReport, Where, open_check, read_report
from .program import Invocation
from .progress import Amount, make_display, watched
from .recalling import bring_back
from .restore_options import RestoreOptions
from .restoring import Done, record_damaged_copies, restore_hooks
from .sources import unlock_with


def carry_out(invocation: Invocation, what: str, asked: RestoreOptions) -> int:
    """Look at the live store again, and mend what is damaged: of ``what``, a path or the file of a report.
    Returns the exit status."""
    report = _report(what)
    if report is not None and not report.damaged:
        return Done(RestoreReport(), 0.0).tell({"mailboxes": 0}, (), as_json=asked.as_json)
    paths = (LogicalPath.parse(what),) if report is None else report.paths
    where = Where(
        store=asked.place,
        staging=asked.staging,
        destinations=asked.destinations,
        at=asked.at,
        workers=asked.workers,
        unlock=unlock_with(asked.identities, asked.passphrase_files),
    )
    if report is not None and where.at is None:
        # What was damaged then may have been backed up since.
        where = replace(where, at=report.moment)
    data = report is not None and report.data
    with open_check(invocation, paths, where, data=data) as check:
        check = _with_archives(invocation, asked, check)
        if check.backup.archives.keys.structures:
            refuse_locked(
                [planned_check.task.archives for planned_check in check.planned], check.backup.slots
            )
            refuse_without_vault([one.task.archives for one in check.planned], check.backup.slots)
        planned = plan_mending(check.planned, report.damaged if report else None)
        hooks = restore_hooks(invocation, check.config, files=(), staging=asked.staging)
        with hooks.around("restore", {"paths": list(map(str, paths))}) as around:
            done = _mend(check, planned, as_json=asked.as_json)
            around.facts.update(done.facts())
        mailboxes = sum(len(one.task.mailboxes) for one in planned)
        status = done.tell({"mailboxes": mailboxes}, check.backup.damaged, as_json=asked.as_json)
        for trouble in around.troubles:
            output.note(output.shown(trouble))
            status = status or EXIT_SKIPPED
        return status


def _report(what: str) -> DamageReport | None:
    """The report that is in a file of this name; None for the path of something in the backup."""
    file = Path(what)
    if file.is_file():
        return read_report(file)
    if not what.startswith("/"):
        raise UsageError(f"--only-damaged {what}: neither a logical path nor the file of a report")
    return None


def _with_archives(invocation: Invocation, asked: RestoreOptions, check: Checking) -> Checking:
    """With all archives where they can be read that the mailboxes lie in."""
    backup = check.backup
    users = {
        (mailbox.archive, mailbox.user) for planned in check.planned for mailbox in planned.task.mailboxes
    }
    with opened(backup) as archives:
        needs = {
            need
            for version in backup.versions
            if (version.archive, version.user) in users
            for need in needs_of(backup, archives, version)
        }
    wanted = to_recall(backup.archives, sorted(needs), far=check.access is not None)
    if not wanted:
        return check
    recalled = bring_back(
        invocation,
        asked.staging,
        backup.archives,
        wanted,
        check.workers,
        asked.wait,
        as_json=asked.as_json,
    )
    names = dict(recalled.now)
    planned = [
        replace(
            planned_check, task=replace(planned_check.task, archives=planned_check.task.archives.back(names))
        )
        for planned_check in check.planned
    ]
    return replace(check, planned=planned)


def _mend(check: Checking, planned: list[PlannedCheck[MendTask]], *, as_json: bool) -> Done:
    clock = adapters.clock()
    began = clock.monotonic()
    with make_display(clock, as_json=as_json) as display:
        display.begin(
            {
                planned_check.task.label: Amount(planned_check.messages, planned_check.size_bytes)
                for planned_check in planned
            }
        )
        report = run_mending(planned, watched(check.engine, display, _ended), display.progress)
    record_damaged_copies(check.backup.archives, report)
    return Done(report, clock.monotonic() - began)


def _ended(outcome: Outcome[MendTask, RestoreReport]) -> tuple[str, Amount]:
    report = outcome.report or RestoreReport()
    return outcome.task.label, Amount(report.restored, report.size_bytes)
