"""What is dispatched: one task, one report. Builds the adapters that a task names and calls the data path.

Every engine calls these functions with a task and a progress callback; tasks and reports cross process
and host boundaries, so they hold plain records only. A task's ``host`` is the one that it was sent to;
empty where that is the coordinator's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.archive.reader import Contents, LocalFile, RandomAccess, open_sealed
from ..proto.errors import DamagedError
from ..proto.ports import ProgressSink
from ..proto.records import ArchiveId, Partition, Progress, RestoreReport, Skipped, Unit, UnitReport
from . import memory
from .archives import ArchivePlace, open_archive, open_place, opened_archives
from .backup import ArchiveSettings, back_up
from .inventory import Stock, take_stock
from .load import LoadLimits, bounded, gentle
from .restore import Choice, restore
from .staging.area import StagingArea, open_file, open_sink
from .staging.sealed import report_of
from .staging.sinks import sync_directory
from .stores import registry
from .verify import VerifyReport, verify_frames, verify_messages


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryTask:
    """List the users of a partition that the paths select (of ``only``, if given); measure those that are
    not ``known``."""

    partition: Partition
    paths: tuple[LogicalPath, ...]
    known: frozenset[str]
    only: frozenset[str] | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.partition.hosts

    def attempted(self, _host: str, _attempt: int) -> InventoryTask:
        """See Task."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupTask:
    """Back up one unit into the file ``name`` of the staging area, as the attempt with this epoch.
    ``grant`` is what lets the host write it."""

    unit: Unit
    settings: ArchiveSettings
    staging: StagingArea
    name: str
    epoch: int
    host: str = ""
    grant: bytes = b""
    load: LoadLimits = field(default_factory=LoadLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTask:
    """Restore parts of the mailboxes that one archive's metadata tells of. ``archives`` are all that
    may be needed for it, ``target`` where it goes; ``label`` is how the task is called in its progress.

    Hosts other than that of the ``staging`` area read its archives by their ``grants``.
    """

    archive: ArchiveId
    archives: Mapping[ArchiveId, ArchivePlace]
    choices: tuple[Choice, ...]
    target: Partition
    label: str
    staging: StagingArea | None = None
    grants: Mapping[str, bytes] = field(default_factory=dict)
    host: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.target.hosts

    def attempted(self, host: str, _attempt: int) -> RestoreTask:
        """See Task."""
        grants = {host: self.grants[host]} if host in self.grants else {}
        return replace(self, host=host, grants=grants)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyTask:
    """Check one archive; with ``data``, every message of ``path`` in it too."""

    place: ArchivePlace
    archives: Mapping[ArchiveId, ArchivePlace]
    path: LogicalPath
    data: bool

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return ()

    def attempted(self, _host: str, _attempt: int) -> VerifyTask:
        """See Task."""
        return self


def run_inventory(task: InventoryTask, _progress: ProgressSink) -> Stock:
    """See ``worker.inventory.take_stock``."""
    return take_stock(registry.open_store(task.partition), task.paths, task.known, task.only)


def run_backup(task: BackupTask, progress: ProgressSink) -> UnitReport:
    """See ``worker.backup.back_up``."""
    memory.keep_freed_memory()
    sealed = _sealed(task)
    if sealed is not None:
        # An earlier attempt sealed it, but its answer was lost: a sealed archive is never written again.
        return sealed
    told = _Told(progress, task.unit.label)
    with gentle(task.load):
        sink = open_sink(task.staging, task.name, task.host, task.epoch, task.grant, told.waiting)
        store = bounded(registry.open_store(task.unit.partition), task.load, task.host)
        return back_up(task.unit, store, sink, task.settings, told)


class _Told:
    """The progress of a unit, and what it waits for."""

    def __init__(self, progress: ProgressSink, unit: str) -> None:
        self._progress = progress
        self._last = Progress(unit, 0, 0)

    def __call__(self, progress: Progress) -> None:
        self._last = progress
        self._progress(progress)

    def waiting(self, reason: str) -> None:
        self._progress(self._last._replace(waiting=reason))


def _sealed(task: BackupTask) -> UnitReport | None:
    """The report of an archive that is there already."""
    file = open_file(task.staging, task.name, task.host, task.grant)
    if file is None:
        return None
    try:
        if isinstance(file, LocalFile):
            # Who sealed it may have died before its name was durable.
            sync_directory(Path(file.name).parent)
        return report_of(open_sealed(file))
    finally:
        file.close()


def run_restore(task: RestoreTask, progress: ProgressSink) -> RestoreReport:
    """See ``worker.restore.restore``."""
    memory.keep_freed_memory()
    target = registry.open_target(task.target)
    with opened_archives(task.archives, _opener(task)) as archives:
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


def _opener(task: RestoreTask) -> Callable[[ArchivePlace], RandomAccess]:
    """How the host of a task reads archives: as files, or from the staging host."""
    area = task.staging
    if area is None or task.host in ("", area.host):
        return open_place

    def open_remote(place: ArchivePlace) -> RandomAccess:
        name = os.path.relpath(place.file, area.path)
        file = open_file(area, name, task.host, task.grants.get(task.host, b""))
        if file is None:
            raise DamagedError(f"{place.file}: No such file", reason="missing")
        return file

    return open_remote


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
