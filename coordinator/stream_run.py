"""A run into one stream instead of a staging area: archives that refer to no other, one after the other, and
the archive of the run as the end of the stream."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

from .. import __version__
from ..proto.archive.run_end import write_run_end
from ..proto.keys.records import Sealing
from ..proto.ports import Clock
from ..proto.records import ARCHIVE_ID_BYTES, ArchiveId, BackupMode, RunId, UnitReport
from ..proto.run_ends import RunEnd, UnitEnd
from ..proto.structs import Record, replace
from ..worker.staging.area import StagingArea
from ..worker.staging.sinks import StreamSink
from ..worker.tasks.attempt import write_stream
from ..worker.tasks.backup import UnitTask
from .dispatch.engine import Engine
from .hooks import NO_HOOKS, Hooks
from .mailbox_secrets import with_secrets
from .observers import RunObserver
from .preparation import make_plan
from .request import Manner, Request
from .result import RunResult
from .run_ids import new_run_id
from .settings import Config
from .work import StreamWork, unit_task


class StreamMeans(Record, kw_only=True):
    """What a run into a stream works with. ``inventory`` runs the first look at the partitions; ``backup``
    the units, in this process and each but once, as what is in a stream can't be taken back."""

    clock: Clock
    inventory: Engine
    backup: Engine
    observer: RunObserver
    hooks: Hooks = NO_HOOKS


def run_to_stream(
    config: Config, request: Request, sink: StreamSink, means: StreamMeans, sealing: Sealing | None = None
) -> RunResult:
    """Back up what is asked for into one stream, an archive for each unit, and one of the run, without which
    nobody could tell that the stream was cut between two of them. All is read; with a ``sealing`` all is
    encrypted.

    Needs no staging area and leaves no trace in a catalog. Raises UsageError or NotFoundError for paths that
    select nothing, StoreError if a partition can't be listed, StagingError if the stream can't be written,
    HookError.
    """
    started = means.clock.now()
    run = new_run_id(started)
    facts = {"run": run, "file": sink.name, "paths": list(map(str, request.paths))}
    with means.hooks.around("run", facts) as around:
        result = _carry_out(config, request, sink, means, run, started, sealing)
        around.facts.update(state=result.state, skipped=len(result.left_out))
    return replace(result, troubles=around.troubles)


def _carry_out(
    config: Config,
    request: Request,
    sink: StreamSink,
    means: StreamMeans,
    run: RunId,
    started: float,
    sealing: Sealing | None,
) -> RunResult:
    plan, failures = make_plan(config, run, request, None, means.inventory, workers=1)
    if failures:
        raise failures[0].error
    means.observer.planned(plan)
    if sealing is not None and sealing.mailboxes is not None:
        sealing = with_secrets(
            StagingArea(path=str(config.staging.path), sealing=sealing), config.staging.path, plan.units
        ).sealing
    manner = Manner.of(replace(request, mode=_alone(request.mode)), config.exclude)
    work = [
        StreamWork(
            task=_into_stream(unit_task(unit, config, manner, started)), begin=means.observer.attempted
        )
        for unit in plan.units
    ]
    reports: list[UnitReport] = []
    for outcome in means.backup(partial(write_stream, sink, sealing), work, means.observer.progress):
        if outcome.report is None:
            raise outcome.failure()
        means.observer.sealed(outcome.task.task.unit, outcome.report)
        reports.append(outcome.report)
    end = _end(run, started, means.clock.now(), request, reports)
    archive = ArchiveId(os.urandom(ARCHIVE_ID_BYTES))
    write_run_end(end, sink, archive, f"mailhaul {__version__}", stream=True, sealing=sealing)
    return RunResult(
        run=run,
        state="done",
        reports=tuple(reports),
        failures=(),
        skipped=(*plan.left_out, *(skip for report in reports for skip in report.skipped)),
    )


def _into_stream(task: UnitTask) -> UnitTask:
    return replace(task, settings=replace(task.settings, stream=True))


def _end(run: RunId, started: float, ended: float, request: Request, reports: Iterable[UnitReport]) -> RunEnd:
    return RunEnd(
        run=run,
        started=started,
        ended=ended,
        state="done",
        resumed=0,
        paths=" ".join(map(str, request.paths)),
        options="",
        narrowed=False,
        error="",
        units=tuple(map(_unit_end, reports)),
    )


def _unit_end(report: UnitReport) -> UnitEnd:
    return UnitEnd(
        partition=report.partition,
        group=report.group,
        shard=report.shard,
        state="sealed",
        archive=report.archive,
        file="",
        attempts=1,
        error="",
        counts=(len(report.mailboxes),),
        seconds=report.seconds,
        cpu_seconds=report.cpu_seconds,
        ended=None,
    )


def _alone(mode: BackupMode) -> BackupMode:
    return replace(mode, full=True, self_contained=True)
