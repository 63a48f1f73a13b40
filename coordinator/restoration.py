"""A restore is carried out: the tasks of its plan (``restore_plan``) are dispatched, what is durable is noted
in its journal, and what became of all is added up.

Restores need no lock: they read sealed archives and write to a mail store; in the staging area each has a
directory of its own (``restores``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from ..proto.errors import NotFoundError, TargetFullError
from ..proto.ports import ProgressSink, Task
from ..proto.records import (
    Partition,
    Progress,
    RestoreReport,
    RestoreTaskReport,
    Skipped,
)
from ..proto.structs import Record, replace
from ..worker.archives.holdings import Holdings
from ..worker.choice import Choice
from ..worker.staging.area import StagingArea
from ..worker.stores.registry import keeps_places
from ..worker.tasks.restore import EndTask, RestoreTask, run_end, run_restore
from .catalog import Catalog
from .dispatch.engine import Engine, Outcome
from .keepsakes import keep_catalog_now
from .recalling import lose_copy
from .restore_plan import PlannedTask
from .restores.journal import Journal


class RestoreWork(Record, kw_only=True):
    """A Task: what is to be done of a restore task, without what the journal has by the time of an
    attempt. ``elapsed`` says for how many seconds the restore has been under way."""

    task: RestoreTask
    journal: Journal
    elapsed: Callable[[], float]

    @property
    def label(self) -> str:
        """How it is called in its progress."""
        return self.task.label

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.task.hosts

    @property
    def left(self) -> tuple[Choice, ...]:
        """What is not done."""
        return tuple(choice for choice in self.task.choices if choice.key not in self.journal)

    def attempted(self, host: str, attempt: int) -> RestoreTask:
        """See Task."""
        task = replace(self.task, choices=self.left, under_way_seconds=self.elapsed())
        return task.attempted(host, attempt)


def run_tasks(
    planned: Sequence[PlannedTask],
    engine: Engine,
    on_progress: ProgressSink,
    journal: Journal | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    witness: Path | None = None,
) -> RestoreReport:
    """Carry out what is left of tasks; the report tells of all that the ``journal`` has, too, and that is
    told of each mailbox as soon as it is durable. A task that fails is told as skipped mailboxes; the others
    go on. ``witness``: see ``RestoreTask``.

    Raises TargetFullError as soon as a target has no room for more: the rest would meet that, too.
    """
    kept = Journal() if journal is None else journal
    begun = monotonic()
    tasks = [replace(task.task, witness=str(witness or "")) for task in planned]
    works = [RestoreWork(task=one, journal=kept, elapsed=lambda: monotonic() - begun) for one in tasks]
    rest = carried_out(works, engine, on_progress, kept)
    return kept.total + rest


def end_restore(targets: Iterable[Partition], engine: Engine) -> tuple[Skipped, ...]:
    """Let the hosts of the targets remove what the tasks of a restore had in common there; what could not be
    removed is told."""
    tasks = [EndTask(target=target) for target in dict.fromkeys(targets) if keeps_places(target)]
    return tuple(
        Skipped(outcome.task.target.path, "left-behind", outcome.error.message)
        for outcome in engine(run_end, tasks, lambda _: None)
        if outcome.error is not None
    )


class Works(Task, Protocol):
    """A Task that is a part of a restore."""

    @property
    def left(self) -> tuple[Choice, ...]:
        """What is not done."""


WorkT = TypeVar("WorkT", bound=Works)


def carried_out(
    works: Sequence[WorkT], engine: Engine, on_progress: ProgressSink, journal: Journal
) -> RestoreReport:
    """Do works; what is durable is noted in the ``journal`` as soon as it is, the report has what is to be
    told beside that. Raises as ``run_tasks``."""

    def on_each(progress: Progress) -> None:
        for line in progress.done:
            journal.take(line)
        on_progress(progress)

    rest, full = _collected(engine(run_restore, works, on_each), journal)
    if full is not None:
        raise full
    return rest


def _collected(
    outcomes: Iterator[Outcome[WorkT, RestoreTaskReport]], journal: Journal
) -> tuple[RestoreReport, TargetFullError | None]:
    """What is to be told beside the journal; and the error that ends it early, with which the workers end."""
    rest = RestoreReport()
    for outcome in outcomes:
        if outcome.report is not None:
            for mailbox in outcome.report.mailboxes:
                journal.note(mailbox)
            rest += outcome.report.rest
            continue
        error = outcome.failure()
        if isinstance(error, TargetFullError):
            return rest, error
        rest += RestoreReport(
            skipped=tuple(
                Skipped(str(choice.path), error.code, error.message) for choice in outcome.task.left
            )
        )
    return rest, None


def note_damaged_copies(archives: Holdings, report: RestoreReport) -> None:
    """Copies that were damaged, and of which others were read, count no more: the next sweep makes others in
    their place. Raises StagingError."""
    areas = [place for place in archives.places if isinstance(place, StagingArea)]
    if report.replaced and areas:
        with Catalog.open(Path(areas[0].path), write=True) as catalog:
            for archive, location in sorted(report.replaced):
                with suppress(NotFoundError):  # purged meanwhile
                    lose_copy(catalog, archive, location)
        keep_catalog_now(Path(areas[0].path))
