"""What a purge dispatches, on the host of the staging area: tasks, and the functions that do them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...proto.archive.frames import Codec
from ...proto.archive.reader import open_sealed
from ...proto.archive.rewriting import Rewritten
from ...proto.errors import DamagedError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Progress
from .. import memory
from ..archives.opened import ArchivePlace, open_place, opened_archives, refuse_foreign
from ..purging.bounds import unpacked
from ..purging.compaction import NoSink, Remains, compact
from ..purging.liveness import LiveData, NeededArchive, Shares, live_data, shares
from ..staging.sinks import StagedFile
from .local import LocalTask


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTask(LocalTask):
    """Find out what the mailboxes need of which some archives tell. ``archives`` are all that may have to be
    read for it."""

    needed: tuple[NeededArchive, ...]
    archives: Mapping[ArchiveId, ArchivePlace]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesTask(LocalTask):
    """Find out how much of archives is alive."""

    archives: Mapping[ArchiveId, Remains]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionTask(LocalTask):
    """Write what remains of an archive anew as the file ``target``; or, if that is empty, nowhere, to find
    out how large it would be. ``codec`` and ``level`` are for blocks that can't stay as they are; ``label``
    is how the task is called in its progress."""

    label: str
    remains: Remains
    codec: Codec
    level: int
    target: str = ""


def run_live(task: LiveTask, progress: ProgressSink) -> LiveData:
    """See ``liveness.live_data``."""
    memory.keep_freed_memory()
    with opened_archives(task.archives) as archives:
        return live_data(task.needed, archives, progress)


def run_shares(task: SharesTask, _progress: ProgressSink) -> dict[ArchiveId, Shares]:
    """See ``liveness.shares``. Archives that are damaged are left out."""
    found = {}
    for archive, remains in task.archives.items():
        try:
            file = open_place(remains.place)
        except DamagedError:
            continue
        try:
            reader = open_sealed(file)
            refuse_foreign(reader, archive)
            found[archive] = shares(reader, unpacked(remains.stretches), remains.metadata)
        except DamagedError:
            continue
        finally:
            file.close()
    return found


def run_compaction(task: CompactionTask, progress: ProgressSink) -> Rewritten:
    """See ``compaction.compact``."""
    memory.keep_freed_memory()
    return compact(
        task.remains,
        StagedFile(Path(task.target)) if task.target else NoSink(),
        codec=task.codec,
        level=task.level,
        on_bytes=lambda size_bytes: progress(Progress(task.label, 0, size_bytes)),
    )
