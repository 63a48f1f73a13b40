"""The table of contents of a run: inventory, plan, dispatch, commit.

    lock       one run at a time for a staging area                     lock
    inventory  the users of each partition, and their sizes             preparation, inventory
    plan       assign to groups, shard, order                           plan, groups/
    journal    what is to be done is in the catalog before it begins    catalog
    dispatch   each unit to a worker, which seals one archive           work, dispatch/, worker.tasks
    commit     the archive into the catalog: restorable from here on    catalog

Only the commit makes a unit visible. A unit that fails, fails alone, and so does a partition. A run that
was ended early, however that happened, goes on from its journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from ..groups.paths import LogicalPath
from ..proto.errors import BackupError, ConfigError, UnplannedError
from ..proto.ports import Clock, MailStore
from ..proto.records import Partition, RunId, Skipped, Unit, UnitReport
from ..worker.backup import back_up
from ..worker.staging.area import StagingArea
from ..worker.staging.sinks import PARTIAL, StreamSink
from ..worker.tasks import run_backup
from .catalog import Catalog
from .clock import new_run_id, utc
from .dispatch.engine import Engine
from .history import RunState, UnitPlan, Unplanned
from .inventory import Failure
from .lock import RunLock
from .observers import RunObserver
from .plan import Plan
from .preparation import make_plan
from .settings import Config
from .users_file import UserList
from .work import BackupWork, GrantWriting, archive_settings

VANISHED = "vanished"
"""The reason of what its owner removed while the run looked at it: told, but nothing was left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. ``skipped`` are all that its units could not read, and who was left out.

    Of a run that was resumed, the units are those that were done since; ``sealed_before`` were done then.
    """

    run: RunId
    state: RunState
    reports: tuple[UnitReport, ...]
    failures: tuple[Failure, ...]
    skipped: tuple[Skipped, ...]
    sealed_before: int = 0

    @property
    def left_out(self) -> tuple[Skipped, ...]:
        """What is in the store and not in the backup."""
        return tuple(one for one in self.skipped if one.reason != VANISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a run works with. ``inventory`` runs the first look at the partitions, ``backup`` the units;
    ``area`` is the staging area as workers see it, ``grant`` lets those on other hosts write to it."""

    clock: Clock
    inventory: Engine
    backup: Engine
    area: StagingArea
    grant: GrantWriting
    observer: RunObserver


def run_to_staging(
    config: Config, paths: Sequence[LogicalPath], means: Means, users: UserList | None = None
) -> RunResult:
    """Back up what the paths select (of these users, if a list is given) into the staging area, and record
    it in its catalog.

    Raises LockedError while another run goes on, UsageError or NotFoundError for paths that select
    nothing, StoreError if no partition can be listed, StagingError if the staging area can't be written.
    """
    staging = config.staging.path
    with RunLock(staging) as lock, Catalog.open(staging, write=True) as catalog:
        started = means.clock.now()
        run = new_run_id(started, catalog.newest_run())
        lock.note_run(run)
        means.observer.begun(run)
        _remove_leftovers(staging)
        plan, failures = make_plan(
            config,
            run,
            paths,
            catalog,
            means.inventory,
            workers=config.dispatch.workers_per_host,
            users=users,
        )
        catalog.begin_run(
            run,
            utc(started),
            paths=" ".join(map(str, paths)),
            options=f"--users {users.source}" if users else "",
            unplanned=_unplanned(plan, failures),
        )
        if failures and not plan.units:
            for failure in failures[1:]:  # the first one is raised
                means.observer.failed(failure)
            error = failures[0].error
            means.observer.ended(catalog.end_run(run, utc(means.clock.now()), error=error.message), error)
            raise error
        catalog.plan_units(plan.units)
        return _Run(config, catalog, means, run, started, failures).carry_out(plan)


def resume_run(config: Config, run: str, means: Means) -> RunResult:
    """Go on with the run that ``Catalog.resolve_time`` finds: with every unit of it that is not sealed.

    What an earlier attempt has left of a unit is continued after its last checkpoint. Raises as
    ``run_to_staging``, and as ``Catalog.resume_run`` for a run that can't go on.
    """
    staging = config.staging.path
    with RunLock(staging) as lock, Catalog.open(staging, write=True) as catalog:
        known = catalog.resolve_time(run)
        lock.note_run(known)
        means.observer.begun(known)
        resumed = catalog.resume_run(known)
        started = resumed.started.timestamp()
        failures = [
            Failure(what=what, error=UnplannedError(f"{message} (a new run tries it again)", code=code))
            for what, code, message in resumed.unplanned.failed
        ]
        work = _Run(config, catalog, means, known, started, failures, resumed=resumed.resumed)
        plan = Plan(units=work.planned(resumed.units), left_out=resumed.unplanned.left_out)
        return replace(work.carry_out(plan), sealed_before=resumed.sealed)


class _Run:
    """A run whose plan is in the journal, while its units are done."""

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        means: Means,
        run: RunId,
        started: float,
        failures: list[Failure],
        *,
        resumed: int = 0,
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._means = means
        self._run = run
        self._started = started
        self._resumed = resumed
        self._failures = failures
        self._reports: list[UnitReport] = []

    def planned(self, plans: Sequence[UnitPlan]) -> tuple[Unit, ...]:
        """The units of a journal, in the partitions that are configured now. Those of a partition that is
        no more are failures."""
        partitions = {one.name: one for one in self._config.partitions}
        units = []
        for plan in plans:
            partition = partitions.get(plan.partition)
            if partition is not None:
                units.append(_unit(self._run, partition, plan))
            else:
                what = f"{plan.partition}/{plan.group}/{plan.shard}"
                error = ConfigError(f"the partition {plan.partition!r} is not configured any more")
                self._failures.append(Failure(what=what, error=error))
        return tuple(units)

    def carry_out(self, plan: Plan) -> RunResult:
        """Do every unit of the plan, and end the run."""
        means, catalog, run = self._means, self._catalog, self._run
        for failure in self._failures:
            means.observer.failed(failure)
        means.observer.planned(plan)
        try:
            self._dispatch(plan)
        except BaseException as error:
            told = f"ended early: {error or type(error).__name__}"
            means.observer.ended(catalog.end_run(run, self._now(), error=told), error)
            raise
        told = "; ".join(f"{one.what}: {one.error.message}" for one in self._failures)
        state = catalog.end_run(run, self._now(), error=told)
        means.observer.ended(state)
        return RunResult(
            run=run,
            state=state,
            reports=tuple(self._reports),
            failures=tuple(self._failures),
            skipped=(*plan.left_out, *(one for report in self._reports for one in report.skipped)),
        )

    def _dispatch(self, plan: Plan) -> None:
        means = self._means
        work = [
            BackupWork(
                unit=unit,
                settings=archive_settings(self._config.archive, self._started),
                area=means.area,
                load=self._config.load,
                resumed=self._resumed,
                grant=means.grant,
                begin=means.observer.attempted,
            )
            for unit in plan.units
        ]
        for outcome in means.backup(run_backup, work, means.observer.progress):
            unit = outcome.task.unit
            if outcome.report is not None:
                self._commit(unit, outcome.report, outcome.attempts)
            else:
                self._fail(unit, outcome.failure(), outcome.attempts)

    def _commit(self, unit: Unit, report: UnitReport, attempts: int) -> None:
        file = str(Path(report.file).relative_to(self._config.staging.path))
        report = replace(report, file=file)
        self._catalog.commit_unit(report, sealed=self._now(), attempts=attempts)
        self._means.observer.sealed(unit, report)
        self._reports.append(report)

    def _fail(self, unit: Unit, error: BackupError, attempts: int) -> None:
        failure = Failure(what=unit.label, error=error)
        self._catalog.fail_unit(unit, error.message, attempts=attempts)
        self._means.observer.failed(failure)
        self._failures.append(failure)

    def _now(self) -> datetime:
        return utc(self._means.clock.now())


def run_to_stream(
    config: Config,
    paths: Sequence[LogicalPath],
    stream: BinaryIO,
    name: str,
    *,
    clock: Clock,
    inventory: Engine,
    open_store: Callable[[Partition], MailStore],
    observer: RunObserver,
    users: UserList | None = None,
) -> RunResult:
    """Back up what the paths select into one stream, an archive for each unit, in this process.

    Needs no staging area and leaves no trace in a catalog. Raises as ``run_to_staging`` does.
    """
    started = clock.now()
    run = new_run_id(started)
    plan, failures = make_plan(config, run, paths, None, inventory, workers=1, users=users)
    if failures:
        raise failures[0].error
    observer.planned(plan)
    reports = []
    for unit in plan.units:
        sink = StreamSink(stream, name)
        settings = archive_settings(config.archive, started)
        report = back_up(unit, open_store(unit.partition), sink, settings, observer.progress)
        observer.sealed(unit, report)
        reports.append(report)
    return RunResult(
        run=run,
        state="done",
        reports=tuple(reports),
        failures=(),
        skipped=(*plan.left_out, *(one for report in reports for one in report.skipped)),
    )


def _unplanned(plan: Plan, failures: Sequence[Failure]) -> Unplanned:
    return Unplanned(
        failed=tuple((one.what, one.error.code, one.error.message) for one in failures),
        left_out=plan.left_out,
    )


def _unit(run: RunId, partition: Partition, plan: UnitPlan) -> Unit:
    return Unit(
        run=run,
        partition=partition,
        group=plan.group,
        shard=plan.shard,
        users=plan.users,
        size_bytes=plan.size_bytes,
        messages=plan.messages,
    )


def _remove_leftovers(staging: Path) -> None:
    """Partial archives of runs that died: a new run begins, so they will not be continued any more."""
    for partial in staging.glob(f"[!.]*/*/*.mha*{PARTIAL}"):
        partial.unlink(missing_ok=True)
