"""The table of contents of a verification: choose archives, dispatch, add up; and the catalog's rebuild."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.errors import DamagedError, UnsupportedError
from ..proto.ports import ProgressSink
from ..proto.records import ArchiveFacts, Skipped
from ..worker.tasks import VerifyTask, run_verify
from ..worker.verify import VerifyReport
from . import catalog
from .backup_set import BackupSet, facts_of
from .dispatch.engine import Engine
from .lock import RunLock


def verify(
    backup: BackupSet, path: LogicalPath, *, data: bool, engine: Engine, on_progress: ProgressSink
) -> tuple[VerifyReport, ...]:
    """Check every archive that holds something of the path; with ``data``, every message of the path too.

    A report for each archive, in order of completion. Raises NotFoundError if the backup holds nothing
    of the path.
    """
    archives = {one.archive: None for one in backup.select(path)}
    tasks = [
        VerifyTask(place=backup.places[one], archives=backup.places, path=path, data=data) for one in archives
    ]
    reports = []
    for outcome in engine(run_verify, tasks, on_progress):
        if outcome.report is not None:
            reports.append(outcome.report)
        else:
            error = outcome.failure()
            file = outcome.task.place.file
            reports.append(VerifyReport(file=file, damaged=(Skipped(file, error.code, error.message),)))
    return tuple(reports)


def rebuild_catalog(staging: Path) -> tuple[int, Sequence[Skipped]]:
    """Make the catalog again from the sealed archives of the staging area.

    Returns how many archives were entered, and which could not be and why. Raises LockedError while a
    run goes on.
    """
    facts: list[ArchiveFacts] = []
    refused: list[Skipped] = []
    with RunLock(staging):
        for file in sorted(staging.glob("[!.]*/*/*.mha")):
            try:
                facts.append(facts_of(staging, file))
            except (DamagedError, UnsupportedError) as error:
                refused.append(Skipped(str(file.relative_to(staging)), error.code, error.message))
        refused += catalog.rebuild(staging, facts)
    return len(facts), refused
