"""What is dispatched: one task, one report. Builds the adapters that a task names and calls the data path.

Every engine calls these functions with a task and a progress callback; tasks and reports cross process
and host boundaries, so they hold plain records only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.archive.reader import Contents, open_sealed
from ..proto.errors import DamagedError
from ..proto.ports import ProgressSink
from ..proto.records import ArchiveId, Partition, RestoreReport, Skipped, Unit, UnitReport
from . import memory
from .archives import ArchivePlace, open_archive, open_place, opened_archives
from .backup import ArchiveSettings, back_up
from .restore import Choice, restore
from .staging.sealed import report_of
from .staging.sinks import StagedFile
from .stores import registry
from .verify import VerifyReport, verify_frames, verify_messages


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupTask:
    """Back up one unit into a file of the staging area."""

    unit: Unit
    settings: ArchiveSettings
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTask:
    """Restore parts of the mailboxes that one archive's metadata tells of. ``archives`` are all that
    may be needed for it, ``target`` where it goes; ``label`` is how the task is called in its progress."""

    archive: ArchiveId
    archives: Mapping[ArchiveId, ArchivePlace]
    choices: tuple[Choice, ...]
    target: Partition
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyTask:
    """Check one archive; with ``data``, every message of ``path`` in it too."""

    place: ArchivePlace
    archives: Mapping[ArchiveId, ArchivePlace]
    path: LogicalPath
    data: bool


def run_backup(task: BackupTask, progress: ProgressSink) -> UnitReport:
    """See ``worker.backup.back_up``."""
    memory.keep_freed_memory()
    if Path(task.file).exists():
        # An earlier attempt sealed it, but its answer was lost: a sealed archive is never written again.
        return _report_of(task.file)
    store = registry.open_store(task.unit.partition)
    return back_up(task.unit, store, StagedFile(Path(task.file)), task.settings, progress)


def _report_of(file: str) -> UnitReport:
    local = open_place(ArchivePlace(file=file))
    try:
        return report_of(open_sealed(local))
    finally:
        local.close()


def run_restore(task: RestoreTask, progress: ProgressSink) -> RestoreReport:
    """See ``worker.restore.restore``."""
    memory.keep_freed_memory()
    target = registry.open_target(task.target)
    with opened_archives(task.archives) as archives:
        try:
            archive = archives(task.archive)
        except DamagedError as error:
            lost = tuple(Skipped(str(one.path), "archive", error.message) for one in task.choices)
            return RestoreReport(damaged=lost)
        return restore(
            archive,
            Contents(archives),
            task.choices,
            target,
            lambda told: progress(told._replace(unit=task.label)),
        )


def run_verify(task: VerifyTask, progress: ProgressSink) -> VerifyReport:
    """See ``worker.verify``."""
    memory.keep_freed_memory()
    file = open_place(task.place)
    try:
        frames = verify_frames(file)
        if not task.data:
            return frames
        try:
            archive = open_archive(file)
        except DamagedError as error:
            lost = Skipped(file.name, "archive", error.message)
            return VerifyReport(file=file.name, frames=frames.frames, damaged=(*frames.damaged, lost))
        with opened_archives(task.archives) as archives:
            data = verify_messages(archive, Contents(archives), task.path, progress)
    finally:
        file.close()
    return VerifyReport(
        file=file.name,
        frames=frames.frames,
        messages=data.messages,
        size_bytes=data.size_bytes,
        damaged=(*frames.damaged, *data.damaged),
    )
