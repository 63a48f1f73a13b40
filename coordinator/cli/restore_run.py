"""A restore from its plan to its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_SKIPPED, BackupError, StagingError
from ...proto.records import ArchiveId, Partition, RunId
from ...worker.load import NO_LIMITS
from ...worker.restore import Extent
from ...worker.staging.area import StagingArea
from ..backup_set import BackupSet
from ..clock import utc
from ..dispatch.engine import Engine
from ..newest_first import Ahead
from ..places import names_partition
from ..recalling import to_recall
from ..renaming import Renaming, everybody, read_renames, renaming_of
from ..restoration import Access, RestorePlan, narrowed, paths_of_failures, plan_restore
from ..restores.ahead import make_place, taken
from ..restores.before import keep_before, why_lasting
from ..restores.journal import Journal
from ..restores.margins import margin_above_earlier
from ..restores.record import OpenRestore, at_rest
from ..restores.report import TEXT
from ..run_ids import started_of
from ..settings import Config
from . import adapters, output
from .collector import kept_records
from .configuration import chosen_site
from .options import refuse
from .output import counted
from .program import Invocation
from .restore_options import RestoreOptions
from .restore_record import Again, again_of, end, going_on, recorded, refuse_other_moment
from .restore_state import tell_state
from .restore_undo import Undoing
from .restore_warnings import tell_missing, tell_moment
from .restorers import open_restorers
from .restoring import Goal, carry_out, carry_out_newest_first, chosen_goal, restore_hooks
from .sources import chosen_backup, named_paths
from .workers import prepare_restore


def restore(context: click.Context, asked: RestoreOptions) -> int:
    """Plan; show the plan, or recall what has to come back, restore, count and report. Returns the exit
    status."""
    invocation = cast(Invocation, context.obj)
    again = again_of(context)
    area = None if asked.files else chosen_site(invocation, asked.staging, asked.destinations).area
    goal = chosen_goal(invocation, asked.place, asked.workers, asked.staging)
    at, files, staging = asked.at, asked.files, asked.staging
    paths = named_paths(invocation, asked.paths, asked.host, at=at, files=files, staging=staging)
    if again and again.only:
        paths = paths_of_failures(paths, again.only)
    with ExitStack() as stack:
        earlier = stack.enter_context(going_on(again))
        backup = stack.enter_context(
            chosen_backup(
                invocation,
                paths,
                at=at,
                files=files,
                staging=staging,
                destinations=asked.destinations,
                only=asked.only,
                departed=again.order.departed if again else at in (None, "latest"),
            )
        )
        engine, access = stack.enter_context(
            open_restorers(goal.config, goal.workers, dry_run=asked.dry_run, alone=goal.alone)
        )
        refuse_other_moment(again, backup)
        later = stack.enter_context(_newest(invocation, asked, paths, again))
        renaming = _renaming(asked, backup, area)
        partitions = {one.partition for one in backup.versions}
        if renaming is not None:
            partitions = {renaming.place(one).partition for one in backup.versions}
        targets = goal.targets(partitions)
        planning = _Planning(
            asked=asked,
            paths=tuple(paths),
            targets={
                name: asked.target(_above_earlier(one, name, backup, area, earlier))
                for name, one in targets.items()
            },
            goal=goal,
            access=access,
            again=again,
            journal=earlier.journal if earlier else Journal(),
            renaming=renaming,
            later=later,
            day=_day(again),
        )
        plan = planning.plan(backup)
        tell_moment(backup.moment)
        if earlier is not None:
            # Whoever has emptied the target meanwhile must not take this one for whole.
            done = counted(len(earlier.journal), "mailbox", "mailboxes")
            output.note(
                f"{done} came back before it was ended, and are not looked at again; if the target was "
                "emptied since, restore anew"
            )
        if again is not None and again.undone is not None:
            return _taken_back(context, again, planning, backup, plan, engine, area)
        wanted = to_recall(backup.archives, [one.archive for one in plan.needs], far=access is not None)
        if asked.dry_run and (asked.state_only or asked.exact):
            would = carry_out(plan.tasks, engine, backup.archives, as_json=asked.as_json)
            return tell_state(would, plan, backup, exact=asked.exact, as_json=asked.as_json)
        if asked.dry_run:
            return _shown(planning, backup, plan, wanted, engine, area)
        # Folders and state need little more than what lies in the staging area of every archive.
        if wanted and not (asked.provision_only or asked.state_only):
            plan, engine = _after_recall(invocation, planning, backup, wanted, engine)
        tell_missing(plan)
        engine = _for_size(planning, plan, engine)
        return _restored(context, planning, backup, plan, engine, area, earlier)


def _above_earlier(
    target: Partition, name: str, backup: BackupSet, area: Path | None, earlier: OpenRestore | None
) -> Partition:
    """A target whose numbers go on above those that other restores since this moment have given out; those of
    an ``earlier`` one that goes on stay as they are."""
    margin = target.renumbering.uid_margin
    if earlier is not None:
        margin = earlier.order.margins.get(name, margin)
    elif area is not None and backup.moment is not None:
        margin = margin_above_earlier(area, name, backup.moment.run, margin)
    return replace(target, renumbering=replace(target.renumbering, uid_margin=margin))


def _renaming(asked: RestoreOptions, backup: BackupSet, area: Path | None) -> Renaming | None:
    """What --map says of all mailboxes that there are. Raises ConfigError, UsageError."""
    if asked.map_file is None:
        return None
    renames = read_renames(asked.map_file)
    refuse(
        bool(renames.partitions) and asked.place is not None and not names_partition(asked.place),
        f"{renames.source} names partitions, and --to has one place for all: give each one of its own, with "
        "{partition} in it",
    )
    others = everybody(area, backup.moment.run) if area and backup.moment else []
    return renaming_of(renames, (*backup.versions, *others))


def _day(again: Again | None) -> str:
    """The day on which a restore was begun, as it is called in folders."""
    begun = again.order.begun if again else utc(adapters.clock().now())
    return begun.date().isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planning:
    """All that a plan is made from but the backup; and where it goes on with another restore, ``again`` and
    the ``journal`` of that. ``announcement``: see ``Choice``."""

    asked: RestoreOptions
    paths: tuple[LogicalPath, ...]
    targets: dict[str, Partition]
    goal: Goal
    access: Access | None
    again: Again | None
    journal: Journal
    renaming: Renaming | None
    later: BackupSet | None
    day: str

    @property
    def margins(self) -> dict[str, int]:
        """How far folders are raised, by partition."""
        return {name: one.renumbering.uid_margin for name, one in self.targets.items()}

    def plan(self, backup: BackupSet) -> RestorePlan:
        """The plan, without what is done. Raises as ``plan_restore``."""
        with kept_records():
            plan = plan_restore(
                backup,
                self.paths,
                self.targets,
                as_user=self.asked.as_user,
                into=self.asked.into or "",
                workers=self.goal.workers,
                access=self.access,
                exact=self.asked.dry_run and not (self.asked.state_only or self.asked.exact),
                extent=Extent.FRAME if self.asked.provision_only else Extent.ALL,
                renaming=self.renaming,
                load=NO_LIMITS if self.asked.full_speed else self.goal.load,
                state=self.asked.state_rules,
                later=self.later,
                exactly=self.asked.exactly(self.day),
            )
        return narrowed(plan, self.journal, self.again.only) if self.again else plan


@contextmanager
def _newest(
    invocation: Invocation, asked: RestoreOptions, paths: Sequence[LogicalPath], again: Again | None
) -> Iterator[BackupSet | None]:
    """The newest backup, which tells what was done since an earlier moment and what before it; None where
    nobody asks. Of a restore that goes on, or is taken back, the one that was the newest then."""
    rules = asked.state_rules
    same = again is not None and (again.resumed or again.undone)
    at = again.order.newest if again and same else None
    if rules is None or rules.exact or asked.files or asked.at is None or at == "":
        yield None
        return
    with chosen_backup(
        invocation,
        paths,
        at=at,
        files=(),
        staging=asked.staging,
        destinations=asked.destinations,
        only=asked.only,
    ) as newest:
        yield newest


def _shown(
    planning: _Planning,
    backup: BackupSet,
    plan: RestorePlan,
    wanted: list[ArchiveId],
    engine: Engine,
    area: Path | None,
) -> int:
    """Tell the plan, what would come back first, and what it would meet."""
    # Nobody else needs these, and they take a tenth of the time in which one message comes back.
    from ..prospect import look_ahead
    from ..restores.rates import measured_rate
    from .restore_plan import tell_plan

    tell_missing(plan)
    prospect = look_ahead(plan, engine, lambda _: None, workers=planning.goal.workers, access=planning.access)
    rate = measured_rate(area) if area is not None else None
    return tell_plan(plan, backup, wanted, prospect, rate, as_json=planning.asked.as_json)


def _after_recall(
    invocation: Invocation, planning: _Planning, backup: BackupSet, wanted: list[ArchiveId], engine: Engine
) -> tuple[RestorePlan, Engine]:
    """Bring archives back; the plan that there is then, and who carries it out."""
    from .recalling import bring_back  # which most restores do without

    asked, goal = planning.asked, planning.goal
    recalled = bring_back(
        invocation,
        asked.staging,
        backup.archives,
        wanted,
        goal.workers,
        asked.wait,
        as_json=asked.as_json,
        # Who names a destination wants to see that its copy is good.
        afresh=asked.only is not None,
    )
    plan = planning.plan(replace(backup, archives=backup.archives.back(dict(recalled.now))))
    if recalled.failed and planning.access is None and not goal.alone:
        # What is whole of them is read where it is, by one worker: a drive is for one.
        engine = adapters.make_engine(1)
    return plan, engine


def _for_size(planning: _Planning, plan: RestorePlan, engine: Engine) -> Engine:
    """Who carries a plan out: this process where it is small and nobody asked for workers, else ``engine``,
    whose workers here are loaded from now on."""
    if planning.access is not None or planning.goal.alone:
        return engine
    if plan.is_small and planning.asked.workers is None:
        return adapters.make_engine(0)
    prepare_restore()
    return engine


def _taken_back(
    context: click.Context,
    again: Again,
    planning: _Planning,
    backup: BackupSet,
    plan: RestorePlan,
    engine: Engine,
    area: Path | None,
) -> int:
    """Take back what was done of a plan, with a record of that."""
    asked, goal = planning.asked, planning.goal
    undoing = Undoing(
        directory=again.undone or Path(),
        restore=again.order.restore,
        engine=engine,
        hooks=restore_hooks(cast(Invocation, context.obj), goal.config, files=(), staging=asked.staging),
        dry_run=asked.dry_run,
        as_json=asked.as_json,
    )
    # What a worker puts there that outlives its coordinator would stay.
    with at_rest(undoing.directory):
        undo = undoing.plan(plan, backup)
        if asked.dry_run:
            return undoing.rehearse(undo)
        with recorded(context, asked.staging, area, backup, plan, planning.margins, None) as record:
            if record is None:
                raise StagingError("without a record nothing is taken back")
            report, status = undoing.carry_out(undo, record)
        end(record, report, ())
    return status


def _restored(
    context: click.Context,
    planning: _Planning,
    backup: BackupSet,
    plan: RestorePlan,
    engine: Engine,
    area: Path | None,
    earlier: OpenRestore | None,
) -> int:
    """Carry a plan out, with a record of it and the hooks around it; tell what became of it."""
    asked, goal = planning.asked, planning.goal
    hooks = restore_hooks(
        cast(Invocation, context.obj), goal.config, files=asked.files, staging=asked.staging
    )
    # One file for all is whole at its end only: nothing of it could be gone on with.
    place = None if goal.alone else area
    lasting = why_lasting(plan, place, planning.access)
    if asked.is_newest_first:
        lasting = "mailboxes come back in parts, while they are in use"
    with recorded(
        context, asked.staging, place, backup, plan, planning.margins, earlier, lasting, planning.later
    ) as record:
        head: dict[str, object] = {"restore": record.order.restore} if record else {}
        plan, head["undoable"] = _undoable(plan, record, area, goal.config, lasting)
        with hooks.around("restore", {"paths": list(map(str, planning.paths)), **head}) as around:
            journal = record.journal if record else Journal()
            witness = record.witness if record else None
            if asked.is_newest_first:
                run = RunId(record.order.run) if record else max(one.run for one in backup.versions)
                ahead = _ahead(asked, record)
                told = asked.read_announcement()
                done = carry_out_newest_first(
                    plan,
                    started_of(run),
                    engine,
                    journal,
                    ahead,
                    told,
                    witness=witness,
                    as_json=asked.as_json,
                )
            else:
                done = carry_out(
                    plan.tasks,
                    engine,
                    backup.archives,
                    journal,
                    targets=plan.targets,
                    witness=witness,
                    as_json=asked.as_json,
                )
            around.facts.update(done.facts())
        end(record, done.report, backup.damaged)
    head["mailboxes"] = record.order.mailboxes if record else len(plan.mailboxes)
    if backup.moment is not None:
        head["moment"] = backup.moment.run
    status = done.tell(head, backup.damaged, as_json=asked.as_json)
    if status and record:
        output.note(f"the whole list, with what helps: {output.shown(str(record.directory / TEXT))}")
    for trouble in around.troubles:
        output.note(output.shown(trouble))
        status = status or EXIT_SKIPPED
    return status


def _undoable(
    plan: RestorePlan, record: OpenRestore | None, area: Path | None, config: Config | None, lasting: str
) -> tuple[RestorePlan, bool]:
    """The plan, so that it keeps how mailboxes are before; and whether it does. Else that is told."""
    if record is not None and area is not None and not lasting:
        reserve_bytes = config.staging.reserve_bytes if config else 0
        staging = StagingArea(path=str(area), reserve_bytes=reserve_bytes)
        try:
            return keep_before(plan, record, staging, utc(adapters.clock().now())), True
        except BackupError as error:
            lasting = error.message
    output.note(f"this restore can't be undone: {lasting or 'it is not recorded'}")
    return plan, False


def _ahead(asked: RestoreOptions, record: OpenRestore | None) -> Ahead:
    """Who comes first, as it is told by files."""
    places = [make_place(record.directory)] if record else []
    places += [asked.first_from] if asked.first_from else []
    return Ahead(look=lambda: taken(places))
