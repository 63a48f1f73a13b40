"""``mailhaul restore --undo``: what a restore has changed is taken back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ...proto.errors import EXIT_OK, EXIT_SKIPPED, LockedError, NotFoundError, StagingError, UsageError
from ...proto.records import RestoreReport, RestoreTaskReport
from ...proto.structs import Record
from ...worker.tasks.undo import UndoTask
from ..access import Access
from ..backup_set import BackupSet
from ..clock import utc
from ..dispatch.engine import Engine, Outcome
from ..hooks import Hooks
from ..restore_plan import RestorePlan
from ..restores.before import (
    KEPT_DAYS,
    forget_before,
    is_undone,
    lasting_ones,
    later_ones,
    note_undoing,
    note_undone,
    read_before,
)
from ..restores.failures import failure_of
from ..restores.journal import Journal, read_journal
from ..restores.record import OpenRestore, Order, state_of
from ..undoing import UndoPlan, plan_undo, run_undoing
from . import adapters, output
from .output import counted, duration, number, say
from .progress import Amount, make_display, watched


def refuse_undo(directory: Path, order: Order, staging: Path) -> None:
    """Raises UsageError for a restore that can't be taken back, LockedError for one that goes on,
    NotFoundError where how mailboxes were is not kept any more."""
    restore = order.restore
    if order.undoes:
        raise UsageError(
            f"restore {restore} has taken back {order.undoes}, and can't be taken back itself: what it "
            "removed is in the backup, so restore it anew"
        )
    if order.lasting:
        raise UsageError(f"restore {restore} can't be undone: {order.lasting}")
    if state_of(directory) == "running":
        raise LockedError(f"restore {restore} is going on: end it first")
    before = read_before(directory)
    if not before.mailboxes:
        if before.why:
            raise NotFoundError(
                f"restore {restore} can't be undone: none of its mailboxes was kept as it was: {before.why}"
            )
        raise NotFoundError(
            f"restore {restore} can't be undone: how its mailboxes were before is not known; that is kept "
            f"for {KEPT_DAYS} days"
        )
    if later := next(later_ones(staging, restore, before.mailboxes), None):
        raise UsageError(
            f"restore {later} has changed some of the same mailboxes since: take it back first "
            f"(--undo {later})"
        )
    if later := next(lasting_ones(staging, order, before.mailboxes), None):
        raise UsageError(
            f"restore {later} has brought mail to some of the same mailboxes since, and can't be taken back: "
            f"what it brought would go with restore {restore}"
        )
    if is_undone(directory):
        output.note(f"restore {restore} was taken back before; what is left of it is looked at once more")


class Undoing(Record, kw_only=True):
    """A restore that is to be taken back, by its directory; who does it, with ``access`` from other hosts;
    and how it is told."""

    directory: Path
    restore: str
    engine: Engine
    access: Access | None
    hooks: Hooks
    dry_run: bool
    as_json: bool

    def plan(self, plan: RestorePlan, backup: BackupSet) -> UndoPlan:
        """What of the plan of the restore there is to take back. Raises DamagedError, StagingError."""
        done = Journal(earlier=read_journal(self.directory / "journal.jsonl"))
        before = read_before(self.directory)
        return plan_undo(
            plan, done, before, backup.archives, self.access, dry_run=self.dry_run, unlock=backup.unlock
        )

    def rehearse(self, plan: UndoPlan) -> int:
        """Show what would be taken back. Returns the exit status."""
        report, seconds = self._carried_out(plan, Journal())
        return self._tell({"undoes": self.restore, "dry_run": True}, plan, report, seconds)

    def carry_out(self, plan: UndoPlan, record: OpenRestore) -> tuple[RestoreReport, int]:
        """Take it back; returns what became of it, and the exit status. Raises StagingError where it can't be
        recorded that this begins: nothing is taken back then."""
        note_undoing(self.directory, record.order.restore)
        head: dict[str, object] = {"restore": record.order.restore, "undoes": self.restore, "dry_run": False}
        with self.hooks.around("restore", dict(head)) as around:
            report, seconds = self._carried_out(plan, record.journal)
            around.facts.update({"state": "done", "removed": report.removed, "skipped": len(report.skipped)})
        try:
            if plan.is_done(record.journal):
                note_undone(self.directory, record.order.restore)
        except OSError as error:
            output.note(f"that restore {self.restore} was taken back is not recorded: {error.strerror}")
        status = self._tell(head, plan, report, seconds)
        for trouble in around.troubles:
            output.note(output.shown(trouble))
            status = status or EXIT_SKIPPED
        return report, status

    def _carried_out(self, plan: UndoPlan, journal: Journal) -> tuple[RestoreReport, float]:
        clock = adapters.clock()
        began = clock.monotonic()
        with make_display(clock, as_json=self.as_json) as display:
            display.begin({task.label: Amount(len(task.undone), 0) for task in plan.tasks})
            engine = watched(self.engine, display, _ended)
            report = run_undoing(plan.tasks, engine, display.progress, journal)
        return report + RestoreReport(skipped=plan.unknown), clock.monotonic() - began

    def _tell(self, head: Mapping[str, object], plan: UndoPlan, report: RestoreReport, seconds: float) -> int:
        output.list_skipped(report.skipped)
        failures = [failure_of(skip) for skip in report.skipped]
        for kind, remedy in dict.fromkeys((failure.kind, failure.remedy) for failure in failures):
            output.note(f"{kind}: {remedy}")
        if self.as_json:
            output.print_json(
                {
                    **head,
                    "mailboxes": plan.mailboxes,
                    "removed": report.removed,
                    "flagged": report.flagged,
                    "moved": report.moved,
                    "files": report.files,
                    "seconds": round(seconds, 3),
                    "skipped": failures,
                }
            )
        else:
            say(f"{'would be ' if self.dry_run else ''}taken back in {duration(seconds)}")
            rows = [
                *((title, str(one)) for title, one in head.items() if title != "dry_run"),
                ("mailboxes", number(plan.mailboxes)),
                ("removed", counted(report.removed, "message")),
                *([("flags", counted(report.flagged, "message"))] if report.flagged else []),
                *([("moved", counted(report.moved, "message"))] if report.moved else []),
                ("other files", number(report.files)),
                ("skipped", number(len(report.skipped))),
            ]
            for title, value in rows:
                say(f"  {title:<11} {value}")
        return EXIT_SKIPPED if report.skipped else EXIT_OK


def let_go(staging: Path) -> None:
    """Let go of what can't be taken back any more; where that can't be done now it is later."""
    with suppress(StagingError, LockedError):
        forget_before(staging, utc(adapters.clock().now()))


def _ended(outcome: Outcome[UndoTask, RestoreTaskReport]) -> tuple[str, Amount]:
    report = outcome.report.total() if outcome.report else RestoreReport()
    return outcome.task.label, Amount(report.removed, 0)
