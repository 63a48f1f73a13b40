"""``mailhaul restore --only-damaged``: the content of damaged messages, in place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...groups.paths import LogicalPath
from ...proto.errors import UsageError
from ...proto.records import RestoreReport
from ...worker.tasks.live import MendTask
from ..backup_set import needs_of, opened
from ..dispatch.engine import Outcome
from ..live_check import PlannedCheck, plan_mending, run_mending
from ..recalling import to_recall
from ..restoration import note_damaged_copies
from . import adapters, output
from .checking import Checking, DamageReport, Where, open_check, read_report
from .program import Invocation
from .progress import Amount, make_display, watched
from .recalling import bring_back
from .restoring import Done, restore_hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """What was asked for: of ``what`` is damaged, a path or the file of a report."""

    what: str
    where: Where
    wait_seconds: float
    as_json: bool


def carry_out(invocation: Invocation, asked: Mending) -> int:
    """Look at the live store again, and mend what is damaged. Returns the exit status."""
    report = _report(asked.what)
    if report is not None and not report.damaged:
        return Done(RestoreReport(), 0.0).tell({"mailboxes": 0}, (), as_json=asked.as_json)
    paths = (LogicalPath.parse(asked.what),) if report is None else report.paths
    where = asked.where
    if report is not None and where.at is None:
        # What was damaged then may have been backed up since.
        where = replace(where, at=report.moment)
    data = report is not None and report.data
    with open_check(invocation, paths, where, data=data) as check:
        check = _with_archives(invocation, asked, check)
        planned = plan_mending(check.planned, report.damaged if report else None)
        hooks = restore_hooks(invocation, check.config, files=(), staging=where.staging)
        with hooks.around("restore", {"paths": list(map(str, paths))}) as around:
            done = _mend(check, planned, as_json=asked.as_json)
            around.facts.update(done.facts())
        for trouble in around.troubles:
            output.note(output.shown(trouble))
        mailboxes = sum(len(one.task.mailboxes) for one in planned)
        return done.tell({"mailboxes": mailboxes}, check.backup.damaged, as_json=asked.as_json)


def _report(what: str) -> DamageReport | None:
    """The report that is in a file of this name; None for the path of something in the backup."""
    file = Path(what)
    if file.is_file():
        return read_report(file)
    if not what.startswith("/"):
        raise UsageError(f"--only-damaged {what}: neither a logical path nor the file of a report")
    return None


def _with_archives(invocation: Invocation, asked: Mending, check: Checking) -> Checking:
    """With all archives where they can be read that the mailboxes lie in."""
    backup = check.backup
    users = {(one.archive, one.user) for planned in check.planned for one in planned.task.mailboxes}
    with opened(backup) as archives:
        needs = {
            need
            for one in backup.versions
            if (one.archive, one.user) in users
            for need in needs_of(backup, archives, one)
        }
    wanted = to_recall(backup.archives, sorted(needs), far=check.access is not None)
    if not wanted:
        return check
    recalled = bring_back(
        invocation,
        asked.where.staging,
        backup.archives,
        wanted,
        check.workers,
        asked.wait_seconds,
        as_json=asked.as_json,
    )
    names = dict(recalled.now)
    planned = [
        replace(one, task=replace(one.task, archives=one.task.archives.back(names))) for one in check.planned
    ]
    return replace(check, planned=planned)


def _mend(check: Checking, planned: list[PlannedCheck[MendTask]], *, as_json: bool) -> Done:
    clock = adapters.clock()
    began = clock.monotonic()
    with make_display(clock, as_json=as_json) as display:
        display.begin({one.task.label: Amount(one.messages, one.size_bytes) for one in planned})
        report = run_mending(planned, watched(check.engine, display, _ended), display.progress)
    note_damaged_copies(check.backup.archives, report)
    return Done(report, clock.monotonic() - began)


def _ended(outcome: Outcome[MendTask, RestoreReport]) -> tuple[str, Amount]:
    report = outcome.report or RestoreReport()
    return outcome.task.label, Amount(report.restored, report.size_bytes)
