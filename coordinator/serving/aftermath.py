"""What becomes of an operation whose process is gone: what it had begun is asked, not guessed.

A run says in the catalog how far it came, a restore in its directory. All other operations can be done again
from the beginning: they find what is done.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...proto.errors import BackupError, LockedError, StagingError
from ...proto.structs import Record
from ..catalog import Catalog
from ..history import RunRecord
from ..lock import RunLock
from ..restores.record import directory_of, error_of, read_order, state_of
from ..restores.report import read_report
from ..run_archives import seal_run_archives
from ..service.records import Operation, State


class Aftermath(Record, kw_only=True):
    """An operation that is to begin once more, going on with what it ``resumes`` (empty: anew); or that had
    ended in the state ``ended``, before it could record so itself."""

    resumes: str = ""
    ended: State | None = None
    error: str = ""


ANEW = Aftermath()


def aftermath(staging: Path, operation: Operation) -> Aftermath:
    """What to do with an operation that nobody carries out any more. What can't be read is begun anew, and
    says then what is wrong."""
    try:
        match operation.request.kind:
            case "backup" if operation.carries:
                return _of_run(staging, operation.carries)
            case "restore" if operation.carries:
                return _of_restore(staging, operation.carries)
    except BackupError:
        pass
    return ANEW


def resumable(staging: Path, operation: Operation) -> str:
    """The run or restore of an operation that can be gone on with, though an error ended it; empty: none."""
    what = operation.carries
    try:
        if operation.request.kind == "backup" and what:
            with Catalog.open(staging) as catalog:
                return what if catalog.can_go_on(catalog.run(what).run) else ""
        if operation.request.kind == "restore" and what:
            return what if state_of(directory_of(staging, what)) != "done" else ""
    except BackupError:
        pass
    return ""


def _of_run(staging: Path, run: str) -> Aftermath:
    with Catalog.open(staging) as catalog:
        record = catalog.run(run)
        if record.state in ("done", "partial", "failed"):
            _seal(staging, catalog)
            return Aftermath(ended=_end_of(record), error=record.error)
        if catalog.can_go_on(record.run):
            return Aftermath(resumes=run)
        if record.planned_units and record.planned_units == record.sealed_units + record.unchanged_units:
            return Aftermath(ended=_end_of(record, whole=True))
    return ANEW


def _seal(staging: Path, catalog: Catalog) -> None:
    """Write the archive of a run whose process died between the end of the run and that: until then only the
    catalog knows of a run that found nothing changed. Where there is no room, or another program has the
    lock, the next run does so."""
    with suppress(LockedError, StagingError), RunLock(staging):
        seal_run_archives(staging, catalog)


def _end_of(record: RunRecord, *, whole: bool = False) -> State:
    if record.state != "done" and not whole:
        return "failed"
    return "partial" if record.skipped or record.alarms else "done"


def _of_restore(staging: Path, restore: str) -> Aftermath:
    directory = directory_of(staging, restore)
    read_order(directory)  # without it nothing was begun
    state = state_of(directory)
    if state == "done":
        return Aftermath(ended="partial" if read_report(directory).failures else "done")
    if state == "stopped":
        return Aftermath(ended="failed", error=error_of(directory))
    return Aftermath(resumes=restore)
