"""One attempt at a unit, on the host that a task was sent to: builds the adapters that the task names, and
calls the data path: for a run into the staging area, and for one into a stream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ...proto.archive.files import LocalFile
from ...proto.archive.reader import ArchiveReader, open_sealed
from ...proto.directories import sync_directory
from ...proto.errors import DamagedError, StagingError, UnreadableError
from ...proto.keys.records import Sealing
from ...proto.ports import ArchiveSink, ProgressSink
from ...proto.records import STAGING, Location, Progress, UnitReport
from ...proto.structs import replace
from .. import memory
from ..archives.places import Places
from ..archives.sealed import report_of
from ..backup import back_up
from ..comparing.known import OpenParents
from ..load import bounded, gentle
from ..staging.area import open_sink
from ..staging.digested import DigestedSink
from ..staging.sinks import StreamSink
from ..staging.space import FULL
from ..stores import registry
from .backup import BackupTask, UnitTask


def carry_out(task: BackupTask, progress: ProgressSink) -> UnitReport:
    """Back up the unit of a task, with the adapters that it names; see ``worker.backup.back_up``. What is
    sealed already is not written again: the report tells of it."""
    memory.keep_freed_memory()
    places = Places((task.staging,), task.host, task.read_grant)
    parents = OpenParents(task.parents, places.open, task.staging.keys, task.staging.sealing)
    told = _Told(progress, task.unit.label, parents.let_go)
    with gentle(task.load), closing(places), closing(parents):
        sealed = _sealed(task, parents)
        if sealed is not None:
            # An earlier attempt sealed it, but its answer was lost: a sealed archive is never written again.
            return sealed
        sink = DigestedSink(
            open_sink(
                task.staging, task.name, task.host, task.epoch, task.grant, told.waiting, task.staging.keys
            )
        )
        report = _back_up(task, sink, told, parents, task.staging.sealing)
        return replace(report, sha256=sink.sha256)


def write_stream(
    sink: StreamSink, sealing: Sealing | None, task: UnitTask, progress: ProgressSink
) -> UnitReport:
    """Back up the unit of a task into a stream, as an archive that refers to no other."""
    memory.keep_freed_memory()
    with gentle(task.load):
        return _back_up(task, sink, progress, None, sealing)


def _back_up(
    task: UnitTask,
    sink: ArchiveSink,
    progress: ProgressSink,
    parents: OpenParents | None,
    sealing: Sealing | None,
) -> UnitReport:
    return back_up(
        task.unit,
        bounded(registry.open_store(task.unit.partition), task.load, task.host),
        sink,
        task.settings,
        progress,
        mode=task.mode,
        parents=parents,
        selection=task.selection,
        sealing=sealing,
    )


class _Told:
    """The progress of a unit, and what it waits for. ``make_room`` is called while that is room."""

    def __init__(self, progress: ProgressSink, unit: str, make_room: Callable[[], object]) -> None:
        self._progress = progress
        self._make_room = make_room
        self._last = Progress(unit, 0, 0)

    def __call__(self, progress: Progress) -> None:
        self._last = progress
        self._progress(progress)

    def waiting(self, reason: str) -> None:
        if reason == FULL:
            self._make_room()
        self._progress(self._last._replace(waiting=reason))


def _report_of(archive: ArchiveReader, task: BackupTask, parents: OpenParents) -> UnitReport:
    unit, header = task.unit, archive.header
    names = (unit.archive, unit.run, unit.partition.name, unit.group, unit.shard)
    if (header.archive, header.run, header.partition, header.group, header.shard) != names:
        raise StagingError(
            f"{archive.file.name}: there is another archive under the name of this one: move it away",
            path=archive.file.name,
        )
    return report_of(archive, parents.reader)


def _sealed(task: BackupTask, parents: OpenParents) -> UnitReport | None:
    """The report of an archive that is there already."""
    location = Location(STAGING, task.name)
    with closing(Places((task.staging,), task.host, task.grant)) as places:
        try:
            file = places.open(location)
        except UnreadableError as error:
            raise StagingError(error.message, path=places.described(location)) from error
        except DamagedError as error:
            if error.facts.get("reason") != "missing":
                raise
            return None
        with closing(file):
            if isinstance(file, LocalFile):
                # Who sealed it may have died before its name was durable.
                sync_directory(Path(file.name).parent)
            return _report_of(open_sealed(file, keys=task.staging.keys), task, parents)
