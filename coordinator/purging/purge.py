"""The table of contents of a purge: drop runs, then archives that nobody needs, then the dead part of others.

Every step can be repeated, and a purge that ended in the middle of any is finished by the next one:

1. It is recorded which runs are dropped, and the catalog forgets them: from here on they can't be restored.
2. What the catalog still needs is found, by reading metadata, and from that what is dead.
3. Runs that were ended early lose their plans: what they have written may refer to data that is dead now.
   It is recorded which files are to be deleted.
4. The catalog forgets dead archives. Archives that are mostly dead are written anew, as other files; when one
   is whole and durable, the catalog points to it.
5. The files that are recorded and that the catalog does not know are deleted, while nobody reads archives.

Nothing is removed from destinations: when it forgets an archive the catalog lists the copies there that are
not needed any more, and sweeps remove them.

No run can go on meanwhile, so nothing comes to need what was found dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from ...proto.errors import BackupError, DamagedError, StagingError
from ...proto.records import CONFIRMED, Location, Skipped
from ...proto.structs import replace
from ...worker.archives.opened import read_beginning
from ..catalog import Catalog
from ..catalog.snapshots import drop_old
from ..dispatch.engine import Engine
from ..history import Leftovers
from ..holds import Holds, frozen_holds, read_holds
from ..keepsakes import keep_catalog
from ..lock import RunLock
from ..readers import PATIENCE_SECONDS, reading
from ..ready import settle
from ..retention import RetentionRules
from ..structure_keys import area_at
from ..unknown import later_archives
from ..verifying.set_aside import strangers
from .doomed import read_doomed
from .plan import ArchivesPlan, Compaction, ScopePlan, plan_scope, plan_scopes, stored_archives
from .record import PurgedScope, write_purged
from .report import Compacted, Deleted, PurgeObserver, PurgeReport, PurgeRequest
from .steps import Steps, compacted, rewritten
from .survey import plan_archives

NOBODY = PurgeObserver()


def purge(
    staging: Path, request: PurgeRequest, engine: Engine, observer: PurgeObserver = NOBODY
) -> PurgeReport:
    """Purge a staging area.

    Raises NotFoundError if there is no catalog or no such group, UsageError for a path into a group,
    LockedError while a run goes on, DamagedError if the catalog is older than archives: nothing has changed
    then. Whatever else is raised (StagingError, DamagedError): a purge that is begun again goes on from
    there.
    """
    Catalog.open(staging).close()  # where there is none, none is made
    with ExitStack() as stack:
        stack.enter_context(RunLock(staging))
        holds = stack.enter_context(frozen_holds(staging))
        catalog = stack.enter_context(Catalog.open(staging, write=True))
        refuse_behind(staging, catalog)
        scopes = plan_scopes(catalog, request.path, request.rules_of, holds)
        steps = Steps(staging, catalog, observer)
        record_moments(staging, catalog, scopes)
        versions = _forget(catalog, scopes, holds)
        plan = _plan(catalog, staging, request, engine, observer)
        if plan.dead or plan.compactions:
            catalog.drop_plans()
        steps.remove(plan)
        done, failed = steps.compact(plan.compactions, request.archive, engine, unlock=request.unlock)
        left_files = steps.delete(PATIENCE_SECONDS)
        unneeded = catalog.forget_discarded_elsewhere()
        with suppress(StagingError):  # it frees space: there may be none yet
            keep_catalog(staging, catalog)
            drop_old(staging)
        settle(staging, catalog)
        away = catalog.leftovers()
    report = _report(scopes, holds, versions, plan, done, failed, left_files, away)
    return replace(report, unneeded=tuple(unneeded), outdated=_outdated(plan, done))


def rehearse(
    staging: Path, request: PurgeRequest, engine: Engine, observer: PurgeObserver = NOBODY
) -> PurgeReport:
    """What ``purge`` would do, exactly; nothing is changed, and runs may go on. What would be written anew is
    made to know its size, and written nowhere. Raises as ``purge``, but for the lock of runs."""
    with reading(staging), Catalog.open(staging) as catalog, catalog.scratch() as scratch:
        refuse_behind(staging, catalog)
        holds = read_holds(staging)
        scopes = plan_scopes(scratch, request.path, request.rules_of, holds)
        versions = _forget(scratch, scopes, holds)
        plan = _plan(scratch, staging, request, engine, observer)
        done, failed = _measured(staging, plan.compactions, request, engine, observer)
        scratch.remove_archives([record.archive for record in plan.dead])
        scratch.forget_discarded_elsewhere()
        away = scratch.leftovers()
    return _report(scopes, holds, versions, plan, done, failed, away=away)


def refuse_behind(staging: Path, catalog: Catalog) -> None:
    """What an old copy of the catalog does not know would be taken for orphans from now on. Raises
    DamagedError."""
    if later := later_archives(staging, catalog.newest_run()):
        raise DamagedError(
            f"archives are there that came after all that the catalog knows ({len(later):,}, the first is "
            f"{later[0]}): run `mailhaul catalog rebuild`",
            path=str(staging),
        )


def record_moments(staging: Path, catalog: Catalog, planned: Iterable[ScopePlan] = ()) -> None:
    """Put on record which moments of each group stay and which go, before data goes. Of all groups: that a
    purge is over some of them changes nothing of the others. Raises StagingError."""
    plans = {(scope_plan.partition, scope_plan.group): scope_plan for scope_plan in planned}
    orphans = _orphans(staging, catalog)
    keep_all = RetentionRules()
    scopes = []
    for partition, group in dict.fromkeys((*catalog.scopes(), *orphans)):
        plan = plans.get((partition, group)) or plan_scope(
            partition, group, catalog.moments(partition, group), keep_all, Holds()
        )
        scopes.append(
            PurgedScope(
                partition=partition,
                group=group,
                kept=tuple(plan.kept),
                unchanged=plan.unchanged,
                forgotten=tuple(sorted({*catalog.forgotten(partition, group), *plan.forgotten})),
                orphans=tuple(orphans.get((partition, group), ())),
            )
        )
    write_purged(staging, scopes)


def _orphans(staging: Path, catalog: Catalog) -> dict[tuple[str, str], list[str]]:
    """The archives that were sealed and that the catalog never knew, by partition and group: what they refer
    to may be taken away from now on, so a rebuild must not enter them."""
    found: dict[tuple[str, str], list[str]] = {}
    records = list(catalog.archives())
    known = {record.archive for record in records}
    # What an earlier purge has yet to delete was known once.
    doomed = {name for one in read_doomed(staging) for name in (one.file, one.instead)}
    for name in strangers(staging, {archive_record.name for archive_record in records} | doomed):
        with suppress(BackupError):
            header = read_beginning(str(staging / name))
            if header.archive not in known:
                found.setdefault((header.partition, header.group), []).append(header.archive.hex())
    return found


def _forget(catalog: Catalog, scopes: Iterable[ScopePlan], holds: Holds) -> int:
    return sum(
        catalog.forget(
            scope.partition,
            scope.group,
            scope.kept.keys(),
            partial(holds.holds_user, scope.partition, scope.group),
        )
        for scope in scopes
    )


def _plan(
    catalog: Catalog, staging: Path, request: PurgeRequest, engine: Engine, observer: PurgeObserver
) -> ArchivesPlan:
    stored = stored_archives(catalog, staging)
    observer.surveying(len(stored.needed.users))
    return plan_archives(stored, request.compact_below, engine)


def _measured(
    staging: Path,
    compactions: Sequence[Compaction],
    request: PurgeRequest,
    engine: Engine,
    observer: PurgeObserver,
) -> tuple[tuple[Compacted, ...], tuple[Skipped, ...]]:
    """What writing archives anew would come to, and where it would fail."""
    done: list[Compacted] = []
    failed: list[Skipped] = []
    area = area_at(staging)
    for compaction, written in rewritten(
        compactions, area, request.archive, engine, observer, write=False, unlock=request.unlock
    ):
        if isinstance(written, BackupError):
            failed.append(Skipped(compaction.record.name, written.code, written.message))
        else:
            done.append(compacted(compaction, written))
    return tuple(done), tuple(failed)


def _outdated(plan: ArchivesPlan, done: Iterable[Compacted]) -> tuple[Location, ...]:
    """What other programs keep of archives that were written anew."""
    anew = {one.file for one in done}
    return tuple(
        Location(copy.place, copy.name, copy.version)
        for compaction in plan.compactions
        if compaction.record.name in anew
        for copy in compaction.record.copies
        if copy.place == CONFIRMED and copy.generation == compaction.record.generation
    )


def _report(
    scopes: tuple[ScopePlan, ...],
    holds: Holds,
    versions: int,
    plan: ArchivesPlan,
    done: Sequence[Compacted],
    failed: tuple[Skipped, ...],
    left: tuple[str, ...] = (),
    away: tuple[Leftovers, ...] = (),
) -> PurgeReport:
    return PurgeReport(
        scopes=scopes,
        holds=holds.all,
        versions=versions,
        deleted=tuple(Deleted(record.name, record.size_bytes, record.is_staged) for record in plan.dead),
        compacted=tuple(sorted(done, key=lambda one: one.file)),
        failed=failed,
        left=left,
        away=away,
    )
