"""The table of contents of a run: inventory, plan, dispatch, commit.

    lock       one run at a time for a staging area                     lock
    inventory  the users of each partition, and their sizes             inventory
    plan       assign to groups, shard, order                           plan, groups/
    dispatch   each unit to a worker, which seals one archive           dispatch/, worker.tasks
    commit     the archive into the catalog: restorable from here on    catalog

Only the commit makes a unit visible. A unit that fails, fails alone, and so does a partition.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from ..groups.paths import LogicalPath
from ..proto.archive.frames import Codec
from ..proto.errors import BackupError, NotFoundError, StoreError, UsageError
from ..proto.ports import Clock, MailStore
from ..proto.records import ArchiveId, MailboxSize, Partition, Progress, RunId, Skipped, Unit, UnitReport
from ..worker.backup import ArchiveSettings, back_up
from ..worker.staging.sinks import PARTIAL, StreamSink
from ..worker.tasks import BackupTask, run_backup
from .catalog import Catalog
from .clock import new_run_id, utc
from .dispatch.engine import Engine
from .history import MailboxVersion, RunState
from .inventory import Inventory, take_inventory
from .lock import RunLock
from .plan import Plan, plan_run
from .settings import ArchiveConfig, Config

VANISHED = "vanished"
"""The reason of what its owner removed while the run looked at it: told, but nothing was left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A unit or partition that failed, by its label, and why."""

    what: str
    error: BackupError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. ``skipped`` are all that its units could not read, and who was left out."""

    run: RunId
    state: RunState
    reports: tuple[UnitReport, ...]
    failures: tuple[Failure, ...]
    skipped: tuple[Skipped, ...]

    @property
    def left_out(self) -> tuple[Skipped, ...]:
        """What is in the store and not in the backup."""
        return tuple(one for one in self.skipped if one.reason != VANISHED)


class RunObserver(Protocol):
    """Told how a run goes on; for displays and metrics. Must be quick and must not raise."""

    def planned(self, plan: Plan) -> None:
        """The units are known; the work begins."""

    def progress(self, progress: Progress) -> None:
        """A unit has come further."""

    def sealed(self, unit: Unit, report: UnitReport) -> None:
        """A unit is sealed and committed."""

    def failed(self, failure: Failure) -> None:
        """A unit or partition was given up."""


def unit_label(unit: Unit) -> str:
    """How a unit is called towards people, and in its progress."""
    return f"{unit.partition.name}/{unit.group}/{unit.shard}"


def run_to_staging(
    config: Config,
    paths: Sequence[LogicalPath],
    *,
    clock: Clock,
    engine: Engine,
    open_store: Callable[[Partition], MailStore],
    observer: RunObserver,
) -> RunResult:
    """Back up what the paths select into the staging area, and record it in its catalog.

    Raises LockedError while another run goes on, UsageError or NotFoundError for paths that select
    nothing, StoreError if no partition can be listed, StagingError if the staging area can't be written.
    """
    with RunLock(config.staging) as lock, Catalog.open(config.staging, write=True) as catalog:
        started = clock.now()
        run = new_run_id(started, catalog.newest_run())
        lock.note_run(run)
        _remove_leftovers(config.staging)
        plan, failures = make_plan(
            config, run, paths, open_store, catalog, workers=config.dispatch.workers_per_host
        )
        catalog.begin_run(run, utc(started), paths=" ".join(map(str, paths)))
        nothing = bool(failures) and not plan.units
        for failure in failures[nothing:]:  # then the first one is raised
            observer.failed(failure)
        if nothing:
            catalog.end_run(run, utc(clock.now()), error=failures[0].error.message)
            raise failures[0].error
        catalog.plan_units(plan.units)
        observer.planned(plan)
        reports = []
        tasks = [_task(config, unit, started) for unit in plan.units]
        try:
            for outcome in engine(run_backup, tasks, observer.progress):
                unit = outcome.task.unit
                if outcome.report is not None:
                    report = replace(
                        outcome.report, file=str(Path(outcome.report.file).relative_to(config.staging))
                    )
                    catalog.commit_unit(report, sealed=utc(clock.now()), attempts=outcome.attempts)
                    observer.sealed(unit, report)
                    reports.append(report)
                else:
                    failure = Failure(what=unit_label(unit), error=outcome.failure())
                    catalog.fail_unit(unit, failure.error.message, attempts=outcome.attempts)
                    observer.failed(failure)
                    failures.append(failure)
        except BaseException as error:
            catalog.end_run(run, utc(clock.now()), error=f"ended early: {error or type(error).__name__}")
            raise
        told = "; ".join(f"{one.what}: {one.error.message}" for one in failures)
        state = catalog.end_run(run, utc(clock.now()), error=told)
    return RunResult(
        run=run,
        state=state,
        reports=tuple(reports),
        failures=tuple(failures),
        skipped=(*plan.left_out, *(one for report in reports for one in report.skipped)),
    )


def run_to_stream(
    config: Config,
    paths: Sequence[LogicalPath],
    stream: BinaryIO,
    name: str,
    *,
    clock: Clock,
    open_store: Callable[[Partition], MailStore],
    observer: RunObserver,
) -> RunResult:
    """Back up what the paths select into one stream, an archive for each unit, in this process.

    Needs no staging area and leaves no trace in a catalog. Raises as ``run_to_staging`` does.
    """
    started = clock.now()
    run = new_run_id(started)
    plan, failures = make_plan(config, run, paths, open_store, None, workers=1)
    if failures:
        raise failures[0].error
    observer.planned(plan)
    reports = []
    for unit in plan.units:
        sink = StreamSink(stream, name)
        report = back_up(
            unit, open_store(unit.partition), sink, _settings(config.archive, started), observer.progress
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


def make_plan(
    config: Config,
    run: RunId,
    paths: Sequence[LogicalPath],
    open_store: Callable[[Partition], MailStore],
    catalog: Catalog | None,
    *,
    workers: int,
) -> tuple[Plan, list[Failure]]:
    """The units of a run for so many workers, and the partitions that can't be listed.

    Raises UsageError or NotFoundError for paths that select nothing.
    """
    if any(path.folder is not None for path in paths):
        raise UsageError("a backup takes whole mailboxes: end the path with the user")
    known = known_versions(config, paths, catalog)
    inventories, failures = take_inventories(config, paths, open_store, catalog, known)
    if failures and not inventories:
        return Plan(units=()), failures
    plan = plan_run(
        run,
        paths,
        inventories,
        config.groups.rules,
        workers=workers,
        largest_bytes=config.groups.largest_unit_bytes,
        previous={
            scope: {user: version.shard for user, version in versions.items()}
            for scope, versions in known.items()
        },
    )
    if not (plan.units or plan.left_out or failures):
        searched = ", ".join(one.partition.path for one in inventories)
        raise NotFoundError(f"{' '.join(map(str, paths))}: there is no mailbox to back up in {searched}")
    return plan, failures


def known_versions(
    config: Config, paths: Sequence[LogicalPath], catalog: Catalog | None
) -> dict[tuple[str, str], dict[str, MailboxVersion]]:
    """What the catalog knows of each user, by partition and group. Raises NotFoundError for a partition
    that is not configured."""
    names = [one.name for one in config.partitions]
    for path in paths:
        if not any(map(path.selects_partition, names)):
            raise NotFoundError(f"{path}: there is no such partition; there are: {', '.join(names)}")
    if catalog is None:
        return {}
    return {
        (name, group): catalog.known(name, group)
        for name in names
        if any(path.selects_partition(name) for path in paths)
        for group in config.groups.rules.names()
    }


def take_inventories(
    config: Config,
    paths: Sequence[LogicalPath],
    open_store: Callable[[Partition], MailStore],
    catalog: Catalog | None,
    known: Mapping[tuple[str, str], Mapping[str, MailboxVersion]],
) -> tuple[list[Inventory], list[Failure]]:
    """What the paths select in each partition, with sizes from the catalog where it has them; and the
    partitions that can't be listed."""
    inventories: list[Inventory] = []
    failures: list[Failure] = []
    for partition in config.partitions:
        here = [path for path in paths if path.selects_partition(partition.name)]
        if not here:
            continue
        sizes = {
            user: MailboxSize(user=user, messages=one.stored, size_bytes=one.size_bytes)
            for (name, _), versions in known.items()
            if name == partition.name
            for user, one in versions.items()
        }
        try:
            inventories.append(
                take_inventory(partition, open_store(partition), here, sizes, _expected(catalog, partition))
            )
        except StoreError as error:
            failures.append(Failure(what=partition.name, error=error))
    return inventories, failures


def _expected(catalog: Catalog | None, partition: Partition) -> Callable[[], Iterable[str]]:
    return lambda: catalog.last_run_users(partition.name) if catalog is not None else ()


def _task(config: Config, unit: Unit, started: float) -> BackupTask:
    file = config.staging / unit.partition.name / unit.group / f"{unit.run}.{unit.shard}.mha"
    return BackupTask(unit=unit, settings=_settings(config.archive, started), file=str(file))


def _settings(config: ArchiveConfig, started: float) -> ArchiveSettings:
    return ArchiveSettings(
        archive=ArchiveId(secrets.token_bytes(16)),
        run_started=started,
        codec=Codec.ZSTD if config.codec == "zstd" else Codec.LZ4,
        level=config.level,
    )


def _remove_leftovers(staging: Path) -> None:
    """Partial archives of runs that died: under the lock nobody writes them any more."""
    for partial in staging.glob(f"[!.]*/*/*.mha{PARTIAL}"):
        partial.unlink(missing_ok=True)
