"""Taking a restore back: what of its plan was carried out, beside how it was before; dispatch, add up."""

from __future__ import annotations

from collections.abc import Sequence

from ..groups.paths import LogicalPath
from ..proto.ports import ProgressSink
from ..proto.records import Progress, RestoreReport, Skipped
from ..proto.structs import Record
from ..worker.archives.holdings import Holdings
from ..worker.archives.opened import Unlock
from ..worker.before import not_kept
from ..worker.choice import Choice
from ..worker.tasks.undo import UndoTask, run_undo
from ..worker.undo import Undone
from .access import Access, reached
from .dispatch.engine import Engine
from .restore_plan import RestorePlan
from .restores.before import KeptBefore, whose
from .restores.journal import Journal
from .unlocking import ReadSlots, unlocked


class UndoPlan(Record, kw_only=True):
    """What is taken back: tasks; and ``unknown``, mailboxes of which it is not known how they were."""

    tasks: tuple[UndoTask, ...]
    unknown: tuple[Skipped, ...]

    @property
    def mailboxes(self) -> int:
        """How many mailboxes, or parts of some."""
        return sum(len(task.undone) for task in self.tasks)

    def is_done(self, journal: Journal) -> bool:
        """Whether all of the tasks is in the journal. If not, a host or a mailbox could not be reached: until
        that is taken back, too, an earlier restore of the same mail can't be."""
        return all(undone.choice.key in journal for task in self.tasks for undone in task.undone)


def plan_undo(
    plan: RestorePlan,
    done: Journal,
    before: KeptBefore,
    backup: Holdings,
    access: Access | None,
    *,
    dry_run: bool,
    unlock: Unlock | None = None,
) -> UndoPlan:
    """What of a plan was carried out, by the journal of the restore that is ``done`` and by what was kept
    ``before``; ``backup`` are all archives of that, ``access`` is how workers on other hosts read them,
    ``unlock`` opens their keys."""
    tasks: list[UndoTask] = []
    planned_keys = {one.key[:2] for planned in plan.tasks for one in planned.task.choices}
    unknown = [
        Skipped(path, "unknown", "it stays: the moment that was restored is not kept any more")
        for archive, path in done.mailboxes()
        if (archive, path) not in planned_keys
    ]
    slots = ReadSlots()
    for planned in plan.tasks:
        task = planned.task
        undone = tuple(
            Undone(choice=one, before=before.mailboxes[whose(one, task.target)])
            for one in task.choices
            if whose(one, task.target) in before.mailboxes
        )
        for choice in task.choices:
            mailbox = whose(choice, task.target)
            why = before.why_unkept(mailbox)
            # What was not told may be there in part, as the restore was ended in the middle of it.
            if why or (mailbox not in before.mailboxes and choice.key in done):
                unknown.append(not_kept(str(_path(choice)), why or "nothing is known of it"))
        if undone:
            tasks.append(
                UndoTask(
                    archives=reached(
                        unlocked(before.beside(task.archives, backup), unlock, slots),
                        access,
                        [(one.choice.path.partition or "", user) for one in undone for user in _users(one)],
                    ),
                    undone=undone,
                    target=task.target,
                    label=task.label,
                    renamed=task.renamed,
                    dry_run=dry_run,
                    grants=task.grants,
                )
            )
    return UndoPlan(tasks=tuple(tasks), unknown=tuple(dict.fromkeys(unknown)))


def run_undoing(
    tasks: Sequence[UndoTask], engine: Engine, on_progress: ProgressSink, journal: Journal
) -> RestoreReport:
    """Carry tasks out; what is taken back is told to the ``journal``. A task that fails is told as skipped
    mailboxes; the others go on."""

    def on_each(progress: Progress) -> None:
        for line in progress.done:
            journal.take(line)
        on_progress(progress)

    rest = RestoreReport()
    for outcome in engine(run_undo, tasks, on_each):
        if outcome.report is not None:
            for mailbox in outcome.report.mailboxes:
                journal.note(mailbox)
            rest += outcome.report.rest
            continue
        error = outcome.failure()
        skipped = (
            Skipped(str(_path(undone.choice)), error.code, error.message) for undone in outcome.task.undone
        )
        rest += RestoreReport(skipped=tuple(skipped))
    return journal.total + rest


def _users(undone: Undone) -> tuple[str, str]:
    """Of whom archives tell: whose mail was restored, and whose mailbox that has changed."""
    return undone.choice.user, undone.choice.to_user


def _path(choice: Choice) -> LogicalPath:
    return LogicalPath(choice.path.partition, choice.path.group, choice.user)
