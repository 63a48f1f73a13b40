"""What of the archives is alive: found out by workers, who read the metadata that is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ...proto.ports import ProgressSink, Task
from ...proto.records import ArchiveId
from ...worker.archives.holdings import Holdings
from ...worker.purging.bounds import joined
from ...worker.purging.compaction import Remains
from ...worker.purging.liveness import LiveData, NeededArchive, Shares
from ...worker.staging.area import StagingArea
from ...worker.tasks.purging import LiveTask, SharesTask, run_live, run_shares
from ..dispatch.engine import Engine
from .plan import ArchivesPlan, StoredArchives, candidates, dead_archives, mostly_dead, needed_archives

_AT_ONCE = 64

TaskT = TypeVar("TaskT", bound=Task)
ReportT = TypeVar("ReportT")


def plan_archives(stored: StoredArchives, below: float, engine: Engine) -> ArchivesPlan:
    """Which archives nobody needs, and of which less than the share ``below`` is needed. Raises the error of
    a worker that could not do its part: then nothing is known for sure."""
    live = live_data_of(stored, engine)
    remains = candidates(stored, live)
    shares: dict[ArchiveId, Shares] = {}
    for part in reports(engine, run_shares, list(_parts(remains, stored.area))):
        shares.update(part)
    return ArchivesPlan(
        dead=dead_archives(stored, live), compactions=mostly_dead(stored, remains, shares, below)
    )


def live_data_of(stored: StoredArchives, engine: Engine) -> LiveData:
    """What all that is needed of the stored archives refers to. Raises the error of a worker that could not
    do its part."""
    tasks = [LiveTask(needed=part, archives=_named(stored, part)) for part in needed_archives(stored)]
    found = list(reports(engine, run_live, tasks))
    return LiveData(
        stretches=joined(data.stretches for data in found),
        mailboxes=_together(live_data.mailboxes for live_data in found),
        frames=_together(one.frames for one in found),
        untouchable=frozenset().union(*(one.untouchable for one in found)),
    )


def _named(stored: StoredArchives, needed: Iterable[NeededArchive]) -> Holdings:
    """The archives that tell of some mailboxes, and those that they refer to."""
    return stored.archives.of(
        dict.fromkeys(name for archive in needed for name in (archive.archive, *archive.references))
    )


def _together(found: Iterable[Mapping[ArchiveId, frozenset[int]]]) -> dict[ArchiveId, frozenset[int]]:
    together: dict[ArchiveId, set[int]] = {}
    for one in found:
        for archive, numbers in one.items():
            together.setdefault(archive, set()).update(numbers)
    return {archive: frozenset(numbers) for archive, numbers in together.items()}


def _parts(remains: Mapping[ArchiveId, Remains], area: StagingArea) -> Iterator[SharesTask]:
    archives = list(remains.items())
    for at in range(0, len(archives), _AT_ONCE):
        yield SharesTask(archives=dict(archives[at : at + _AT_ONCE]), places=(area,))


def reports(
    engine: Engine, function: Callable[[Any, ProgressSink], ReportT], tasks: Sequence[TaskT]
) -> Iterator[ReportT]:
    """What workers have to report of some tasks. Raises the error of the first that could not do its part."""
    for outcome in engine(function, tasks, lambda _: None):
        if outcome.report is None:
            raise outcome.failure()
        yield outcome.report
