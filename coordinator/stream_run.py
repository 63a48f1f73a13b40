"""A run into one stream instead of a staging area: archives that refer to no other, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from ..proto.ports import Clock, MailStore
from ..proto.records import BackupMode, Partition
from ..worker.backup import back_up
from ..worker.staging.sinks import StreamSink
from .clock import new_run_id
from .dispatch.engine import Engine
from .observers import RunObserver
from .preparation import make_plan
from .request import Manner, Request
from .result import RunResult
from .settings import Config
from .work import archive_settings


def run_to_stream(
    config: Config,
    request: Request,
    stream: BinaryIO,
    name: str,
    *,
    clock: Clock,
    inventory: Engine,
    open_store: Callable[[Partition], MailStore],
    observer: RunObserver,
) -> RunResult:
    """Back up what is asked for into one stream, an archive for each unit, in this process. All is read.

    Needs no staging area and leaves no trace in a catalog. Raises UsageError or NotFoundError for paths that
    select nothing, StoreError if a partition can't be listed, StagingError if the stream can't be written.
    """
    started = clock.now()
    run = new_run_id(started)
    plan, failures = make_plan(config, run, request, None, inventory, workers=1)
    if failures:
        raise failures[0].error
    observer.planned(plan)
    manner = Manner.of(replace(request, mode=_alone(request.mode)), config.exclude)
    reports = []
    for unit in plan.units:
        report = back_up(
            unit,
            open_store(unit.partition),
            StreamSink(stream, name),
            archive_settings(config.archive, started),
            observer.progress,
            mode=manner.mode,
            selection=manner.selection(unit.group),
        )
        observer.sealed(unit, report)
        reports.append(report)
    return RunResult(
        run=run,
        state="done",
        reports=tuple(reports),
        failures=(),
        skipped=(*plan.left_out, *(one for report in reports for one in report.skipped)),
    )


def _alone(mode: BackupMode) -> BackupMode:
    return replace(mode, full=True, self_contained=True)
