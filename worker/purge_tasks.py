"""What a purge dispatches, on the host of the staging area: tasks, and the functions that do them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..proto.archive.frames import Codec
from ..proto.archive.reader import open_sealed
from ..proto.archive.rewriting import Rewritten
from ..proto.errors import DamagedError
from ..proto.ports import ProgressSink
from ..proto.records import ArchiveId, Progress
from . import memory
from .archives import open_place
from .compaction import NoSink, Remains, compact
from .liveness import LiveData, NeededArchive, Shares, live_data, shares
from .staging.sinks import StagedFile
from .stretches import unpacked


@dataclass(frozen=True, slots=True, kw_only=True)
class _StagingTask:
    """A task for the host of the staging area."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return ()

    def attempted(self, _host: str, _attempt: int) -> object:
        """See Task."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTask(_StagingTask):
    """Find out what the needed metadata of some archives refers to."""

    needed: tuple[NeededArchive, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesTask(_StagingTask):
    """Find out how much of archives is alive."""

    archives: Mapping[ArchiveId, Remains]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionTask(_StagingTask):
    """Write what remains of an archive anew as the file ``target``; or, if that is empty, nowhere, to find
    out how large it would be. ``codec`` and ``level`` are for blocks that can't stay as they are; ``label``
    is how the task is called in its progress."""

    label: str
    remains: Remains
    codec: Codec
    level: int
    target: str = ""


def run_live(task: LiveTask, progress: ProgressSink) -> LiveData:
    """See ``worker.liveness.live_data``."""
    memory.keep_freed_memory()
    return live_data(task.needed, progress)


def run_shares(task: SharesTask, _progress: ProgressSink) -> dict[ArchiveId, Shares]:
    """See ``worker.liveness.shares``. Archives that are damaged are left out."""
    found = {}
    for archive, remains in task.archives.items():
        try:
            file = open_place(remains.place)
        except DamagedError:
            continue
        try:
            found[archive] = shares(open_sealed(file), unpacked(remains.stretches), remains.users)
        except DamagedError:
            continue
        finally:
            file.close()
    return found


def run_compaction(task: CompactionTask, progress: ProgressSink) -> Rewritten:
    """See ``worker.compaction.compact``."""
    memory.keep_freed_memory()
    return compact(
        task.remains,
        StagedFile(Path(task.target)) if task.target else NoSink(),
        codec=task.codec,
        level=task.level,
        on_bytes=lambda size_bytes: progress(Progress(task.label, 0, size_bytes)),
    )
