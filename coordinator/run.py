"""The table of contents of a run: inventory, plan, dispatch, commit.

    lock       one run at a time for a staging area                     lock
    catalog    made again first, if it is lost                          unknown, rebuilding
    inventory  the users of each partition, and their sizes             preparation, inventory
    plan       assign to groups, shard, order; who has departed         plan, departures, groups/
    journal    what is to be done is in the catalog before it begins    catalog, request
    dispatch   each unit to a worker, which seals one archive           work, dispatch/, worker.tasks
    alarm      what looks like a loss is told, and held                 alarms, holds
    commit     the archive into the catalog: restorable from here on    catalog

Only the commit makes a unit visible. A unit in which nothing has changed writes no archive: the commit then
says that it is as it was stored before. A unit that fails, fails alone, and so does a partition; one of which
no mailbox at all can be read is a failure, as one that lists none is. A run that was ended early goes on from
its journal, however that came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.errors import (
    BackupError,
    ConfigError,
    HookError,
    StagingError,
    UnplannedError,
    UnreadableStoreError,
)
from ..proto.ports import Clock
from ..proto.records import STAGING, ArchiveId, Location, Parents, Partition, RunId, Skipped, Unit, UnitReport
from ..proto.structs import Record, replace
from ..worker.archives.first_frames import is_there
from ..worker.archives.names import PARTIAL, excerpt_name
from ..worker.staging.area import StagingArea
from ..worker.tasks.backup import run_backup
from .alarms import Alarm, alarm_of_catalog, alarm_of_recipients, alarms_of_archives, alarms_of_unit
from .catalog import Catalog
from .clock import utc
from .dispatch.engine import Engine
from .history import UnitPlan, Unplanned
from .holds import Hold, add_holds
from .hooks import NO_HOOKS, Hooks, HooksBehind
from .hooks import told as told_hooks
from .inventory import Failure
from .keepsakes import keep_catalog
from .key_checks import misaddressed, overdue_warnings, recipients_in
from .lock import RunLock
from .mailbox_secrets import with_secrets
from .observers import RunObserver
from .opening import Opening, opening_of
from .places import refuse_other_store, refuse_staging_in_store
from .plan import Plan
from .preparation import make_plan
from .ready import manifest, remove, settle
from .request import Manner, Request
from .result import RunResult
from .run_archives import seal_run_archives
from .run_ids import new_run_id, newest_given, note_given
from .settings import Config
from .unknown import is_behind
from .work import BackupWork, GrantReading, GrantWriting, unit_task

_FEW_MAILBOXES = 5000
"""To look at so many, in which little has changed, takes a second."""


class Means(Record, kw_only=True):
    """What a run works with. ``inventory`` runs the first look at the partitions, ``backup`` the units, and
    ``small_night`` does so where little is to be expected of them;
    ``area`` is the staging area as workers see it, ``grant`` lets those on other hosts write to it,
    ``read_grant`` read it."""

    clock: Clock
    inventory: Engine
    backup: Engine
    small_night: Engine
    area: StagingArea
    grant: GrantWriting
    read_grant: GrantReading
    observer: RunObserver
    hooks: Hooks = NO_HOOKS


def run_to_staging(config: Config, request: Request, means: Means) -> RunResult:
    """Back up what is asked for into the staging area, and record it in its catalog.

    Raises LockedError while another run goes on, UsageError or NotFoundError for paths that select
    nothing, StoreError if no partition can be listed, StagingError if the staging area can't be written,
    ConfigError for an owner or group of it that there is not, HookError.
    """
    staging, opening = config.staging.path, opening_of(config.staging)
    with _begun(staging) as (lock, catalog, told):
        over = [
            partition
            for partition in config.partitions
            if any(p.selects_partition(partition.name) for p in request.paths)
        ]
        refuse_staging_in_store(over, staging)
        if not request.accept_moved:
            refuse_other_store(over, catalog.stores())
        started = means.clock.now()
        run = new_run_id(started, newest_given(staging, catalog))
        note_given(staging, run)
        lock.note_run(run)
        means.observer.begun(run)
        # A new run begins: what others have left will not be continued any more.
        _remove_partials(staging)

        def begin(unplanned: Unplanned | None = None) -> None:
            catalog.begin_run(
                run,
                utc(started),
                paths=" ".join(map(str, request.paths)),
                options=request.options(),
                narrowed=request.narrowed,
                mode=manner.to_json(),
                stores=over,
                unplanned=unplanned,
            )
            _seal_run_archives(staging, catalog)  # of a run that could not do so itself

        def end(error: BackupError) -> None:
            means.observer.ended(catalog.end_run(run, utc(means.clock.now()), error=error.message), error)
            _seal_run_archives(staging, catalog)

        manner = Manner.of(request, config.exclude)
        try:
            with means.hooks.around("run", _facts(staging, run, request.paths)) as around:
                workers = config.dispatch.workers_per_host
                plan, failures = make_plan(config, run, request, catalog, means.inventory, workers=workers)
                begin(_unplanned(plan, failures))
                if failures and not plan.units:
                    for failure in failures[1:]:  # the first one is raised
                        means.observer.failed(failure)
                    end(failures[0].error)
                    raise failures[0].error
                catalog.plan_units(plan.units, plan.over)
                plan = replace(plan, alarms=(*told, *plan.alarms))
                work = _Run(config, opening, catalog, means, manner, run, started, failures)
                result = work.carry_out(plan)
                around.facts.update(_outcome(staging, result))
        except HookError as error:
            begin()
            end(error)
            raise
        return replace(result, troubles=(*result.troubles, *around.troubles))


def resume_run(config: Config, run: str, means: Means) -> RunResult:
    """Go on with the run that ``Catalog.resolve_time`` finds: with every unit of it that is not sealed.

    What an earlier attempt has left of a unit is continued after its last checkpoint. Raises as
    ``run_to_staging``, and as ``Catalog.resume_run`` for a run that can't go on.
    """
    staging, opening = config.staging.path, opening_of(config.staging)
    with _begun(staging) as (lock, catalog, told):
        known = catalog.resolve_time(run)
        lock.note_run(known)
        means.observer.begun(known)
        with means.hooks.around("run", _facts(staging, known, ())) as around:
            result = _go_on(config, opening, catalog, means, known, told)
            around.facts.update(_outcome(staging, result))
    return replace(result, troubles=(*result.troubles, *around.troubles))


def _go_on(
    config: Config, opening: Opening, catalog: Catalog, means: Means, known: RunId, told: Sequence[Alarm]
) -> RunResult:
    resumed = catalog.resume_run(known)
    remove(config.staging.path, known)
    started = resumed.started.timestamp()
    failures = [
        Failure(what=what, error=UnplannedError(f"{message} (a new run tries it again)", code=code))
        for what, code, message in resumed.unplanned.failed
    ]
    manner = Manner.from_json(resumed.mode)
    work = _Run(config, opening, catalog, means, manner, known, started, failures, resumed=resumed.resumed)
    plan = Plan(units=work.planned(resumed.units), left_out=resumed.unplanned.left_out, alarms=tuple(told))
    return replace(work.carry_out(plan), sealed_before=resumed.sealed)


@contextmanager
def _begun(staging: Path) -> Iterator[tuple[RunLock, Catalog, list[Alarm]]]:
    """The run lock, the catalog, and what there is to tell of that: a run that began another one beside
    archives of earlier runs would hide these, and the next purge would take them for orphans."""
    with RunLock(staging) as lock:
        told = []
        if is_behind(staging):
            # With it all that reads archives is loaded: costs 0.1 s, and hardly any run needs it.
            from .rebuilding import rebuild_locked

            told.append(alarm_of_catalog(rebuild_locked(staging).archives))
        with Catalog.open(staging, write=True) as catalog:
            yield lock, catalog, told


class _Run:
    """A run whose plan is in the journal, while its units are done."""

    def __init__(
        self,
        config: Config,
        opening: Opening,
        catalog: Catalog,
        means: Means,
        manner: Manner,
        run: RunId,
        started: float,
        failures: list[Failure],
        *,
        resumed: int = 0,
    ) -> None:
        self._config = config
        self._opening = opening
        self._catalog = catalog
        self._means = means
        self._manner = manner
        self._run = run
        self._started = started
        self._resumed = resumed
        self._failures = failures
        self._reports: list[UnitReport] = []
        self._alarms: list[Alarm] = []
        self._looked_for: set[ArchiveId] = set()
        self._hooks = HooksBehind(means.hooks, "after_unit")
        self._recipients = recipients_in(config.encryption.recipients)
        # Where mailboxes are lost of which nothing tells any more, what is known may be older than they were.
        self._lacking = {(loss.partition, loss.group) for loss in catalog.nameless_losses(run)}

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
            self._alarm(plan.alarms)
            self._dispatch(plan)
            troubles = told_hooks(self._hooks.failures())
        except BaseException as error:
            told = f"ended early: {why_ended(error)}"
            interrupted = not isinstance(error, Exception)
            state = catalog.end_run(run, self._now(), error=told, interrupted=interrupted)
            means.observer.ended(state, error)
            self._settle()
            raise
        finally:
            self._hooks.end()
        told = "; ".join(f"{one.what}: {one.error.message}" for one in self._failures)
        state = catalog.end_run(run, self._now(), error=told)
        if not self._failures:
            _remove_partials(self._config.staging.path, run)
        notices = self._notices()
        means.observer.ended(state)
        troubles = (*troubles, *self._settle())
        return RunResult(
            run=run,
            state=state,
            reports=tuple(self._reports),
            failures=tuple(self._failures),
            skipped=(*plan.left_out, *(skip for report in self._reports for skip in report.skipped)),
            alarms=tuple(self._alarms),
            troubles=troubles,
            notices=notices,
        )

    def _notices(self) -> tuple[str, ...]:
        """What is to be done about private keys."""
        found = overdue_warnings(
            self._recipients,
            self._config.staging.keys,
            self._config.staging.path,
            self._now(),
            self._config.encryption.check_every_seconds,
        )
        for text in found:
            self._means.observer.noticed(text)
        return found

    def _settle(self) -> tuple[str, ...]:
        """The run has ended: its own archive, a snapshot of the catalog as it is now, and the manifest of all
        archives. Returns what went wrong."""
        staging = self._config.staging.path
        troubles = []
        _seal_run_archives(staging, self._catalog)
        try:
            keep_catalog(staging, self._catalog)
        except BackupError as error:
            troubles.append(f"there is no snapshot of the catalog after this run: {error.message}")
        try:
            digests = {report.name: report.sha256.hex() for report in self._reports if report.sha256}
            settle(staging, self._catalog, self._opening, self._run, digests)
        except BackupError as error:
            troubles.append(f"the manifest of the run is not there: {error.message}")
        return tuple(troubles)

    def _dispatch(self, plan: Plan) -> None:
        means = self._means
        area = with_secrets(means.area, self._config.staging.path, plan.units)
        work = [
            BackupWork(
                task=unit_task(unit, self._config, self._manner, self._started),
                parents=self._parents,
                area=area.for_mailboxes(unit.partition.name, unit.users),
                resumed=self._resumed,
                grant=means.grant,
                read_grant=means.read_grant,
                begin=means.observer.attempted,
            )
            for unit in plan.units
        ]
        unread: list[tuple[Unit, UnitReport, int]] = []
        engine = means.small_night if self._expects_little(plan) else means.backup
        for outcome in engine(run_backup, work, means.observer.progress):
            unit = outcome.task.unit
            if outcome.report is None:
                self._fail(unit, outcome.failure(), outcome.attempts)
            elif outcome.report.unopened and not outcome.report.mailboxes:
                unread.append((unit, outcome.report, outcome.attempts))
            else:
                self._commit(unit, outcome.report, outcome.attempts)
        self._judge_unread(unread)

    def _expects_little(self, plan: Plan) -> bool:
        """Whether nothing is known to be read, and there are not many mailboxes to be looked at."""
        mode = self._manner.mode
        reads_all = mode.full or mode.self_contained
        few = sum(len(unit.users) for unit in plan.units) <= _FEW_MAILBOXES
        return plan.familiar and few and not reads_all

    def _judge_unread(self, unread: Sequence[tuple[Unit, UnitReport, int]]) -> None:
        """Units of which no mailbox could be opened: where that is so in all of the partition, it looks like
        wrong rights or another mount, and nothing is to count as stored."""
        read = {record.partition for record in self._catalog.units(self._run) if record.mailboxes}
        for unit, report, attempts in unread:
            if unit.partition.name in read:
                self._commit(unit, report, attempts)
            else:
                self._fail(unit, _unreadable(report), attempts)

    def _parents(self, unit: Unit) -> Parents:
        parents = self._catalog.parents(unit.partition.name, unit.group, unit.users)
        gone = self._gone(parents)
        if gone:
            # A sweep may have freed them since they were asked for: it tells the catalog first.
            parents = self._catalog.parents(unit.partition.name, unit.group, unit.users)
            gone = self._gone(parents)
        self._looked_for.update(parents.locations)
        # Told before what they held is read again: whoever moved them away can still bring them back.
        self._alarm(alarms_of_archives(unit, sorted(gone)))
        if (unit.partition.name, unit.group) in self._lacking:
            parents = replace(parents, elsewhere=frozenset(parents.mailboxes))
        return parents

    def _gone(self, parents: Parents) -> list[str]:
        """The names of the archives that are not where they should be; each is looked for once in a run."""
        staging = self._config.staging.path
        return [
            copies[0].name
            for archive, copies in parents.locations.items()
            if copies
            and archive not in self._looked_for
            and not is_there(staging / _staged_name(copies[0]), archive)
        ]

    def _commit(self, unit: Unit, report: UnitReport, attempts: int) -> None:
        if report.archive is not None:
            report = replace(report, name=str(Path(report.name).relative_to(self._config.staging.path)))
            self._alarm(self._alarms_of_recipients(unit, report.name))
        # Held before it is visible: no purge may come in between.
        self._alarm(alarms_of_unit(report, self._config.retention.alarm_share))
        self._catalog.commit_unit(report, sealed=self._now(), attempts=attempts)
        self._means.observer.sealed(unit, report)
        self._reports.append(report)
        facts = {"state": "unchanged", "messages": report.messages}
        if report.archive is not None:
            path = self._config.staging.path / report.name
            facts = {**facts, "state": "sealed", "file": str(path), "size_bytes": report.archive_bytes}
        self._hooks.call(self._unit_facts(unit, facts))

    def _alarms_of_recipients(self, unit: Unit, name: str) -> Iterator[Alarm]:
        """Whether an archive was written for others than the configured recipients: a canary that needs no
        private key."""
        if not self._recipients:
            return
        try:
            wrong = misaddressed(self._config.staging.path / name, self._recipients)
        except BackupError as error:
            wrong = f"for whom it is encrypted can't be read: {error.message}"
        if wrong:
            yield alarm_of_recipients(unit, name, wrong)

    def _alarm(self, alarms: Iterable[Alarm]) -> None:
        found = list(alarms)
        if not found:
            return
        now = self._now()
        holds = [
            Hold(path=path, reason=f"run {self._run}: {one.detail}", since=now, automatic=True)
            for one in found
            for path in one.held
        ]
        add_holds(self._config.staging.path, holds)
        self._catalog.note_alarms(self._run, [Skipped(one.path, one.reason, one.detail) for one in found])
        for alarm in found:
            self._means.observer.alarmed(alarm)
        self._alarms += found

    def _fail(self, unit: Unit, error: BackupError, attempts: int) -> None:
        failure = Failure(what=unit.label, error=error)
        self._catalog.fail_unit(unit, error.message, attempts=attempts)
        self._means.observer.failed(failure)
        self._failures.append(failure)
        self._hooks.call(self._unit_facts(unit, {"state": "failed", "error": error.message}))

    def _unit_facts(self, unit: Unit, facts: Mapping[str, object]) -> dict[str, object]:
        """What a hook is told of a unit that is done."""
        of = {"partition": unit.partition.name, "group": unit.group, "shard": unit.shard}
        return {"run": self._run, "staging": str(self._config.staging.path), **of, **facts}

    def _now(self) -> datetime:
        return utc(self._means.clock.now())


def _facts(staging: Path, run: RunId, paths: Iterable[LogicalPath]) -> dict[str, object]:
    """What a hook is told of a run that begins."""
    return {"run": run, "staging": str(staging), "paths": list(map(str, paths))}


def _outcome(staging: Path, result: RunResult) -> dict[str, object]:
    """And of one that has ended."""
    return {
        "state": result.state,
        "error": "; ".join(f"{failure.what}: {failure.error.message}" for failure in result.failures),
        "archives": [report.name for report in result.reports if report.archive is not None],
        "manifest": str(manifest(staging, result.run)),
        "skipped": len(result.left_out),
        "alarms": len(result.alarms),
        "notices": list(result.notices),
    }


def _seal_run_archives(staging: Path, catalog: Catalog) -> None:
    """Nothing of the mail depends on them: where there is no room for one, the next run makes it."""
    with suppress(StagingError):
        seal_run_archives(staging, catalog)


def _staged_name(location: Location) -> str:
    return location.name if location.place == STAGING else excerpt_name(location.name)


def why_ended(error: BaseException) -> str:
    """Why a run was ended early, in words."""
    if isinstance(error, KeyboardInterrupt):
        return "by SIGTERM" if error.args else "by Ctrl-C"
    return getattr(error, "message", "") or str(error) or type(error).__name__


def _unreadable(report: UnitReport) -> UnreadableStoreError:
    first = report.unopened[0]
    return UnreadableStoreError(
        f"no mailbox of partition {report.partition!r} can be read, {len(report.unopened)} in this unit; the "
        f"first: {first.path}: {first.detail}",
        partition=report.partition,
    )


def _unplanned(plan: Plan, failures: Sequence[Failure]) -> Unplanned:
    return Unplanned(
        failed=tuple((failure.what, failure.error.code, failure.error.message) for failure in failures),
        left_out=plan.left_out,
    )


def _unit(run: RunId, partition: Partition, plan: UnitPlan) -> Unit:
    return Unit(
        run=run,
        partition=partition,
        group=plan.group,
        shard=plan.shard,
        users=plan.users,
        archive=plan.archive,
        departed=plan.departed,
        carried=plan.carried,
        size_bytes=plan.size_bytes,
        messages=plan.messages,
    )


def _remove_partials(staging: Path, run: str = "") -> None:
    """Remove the partial archives of all runs, or of one: those that were left, and what an attempt had begun
    to write at a unit that turned out to be unchanged."""
    for partial in staging.glob(f"[!.]*/*/{run}*.mh[ar]*{PARTIAL}"):
        partial.unlink(missing_ok=True)
