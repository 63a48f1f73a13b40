"""A restore from its plan to its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_SKIPPED, EncryptedError, StagingError
from ...proto.records import ArchiveId, Partition, RunId
from ...proto.structs import Record, replace
from ...worker.choice import Extent
from ...worker.load import NO_LIMITS
from ...worker.staging.area import StagingArea
from ..access import Access
from ..backup_set import BackupSet
from ..clock import utc
from ..dispatch.engine import Engine
from ..newest_first import Ahead
from ..places import names_partition
from ..recalling import to_recall
from ..renaming import Renaming, everybody, read_renames, renaming_of
from ..restore_plan import RestorePlan, narrowed, paths_of_failures, plan_restore
from ..restores.ahead import make_place, taken
from ..restores.journal import Journal
from ..restores.keeping import keep_before, why_lasting
from ..restores.margins import margin_above_earlier
from ..restores.record import OpenRestore, at_rest
from ..restores.report import TEXT
from ..run_ids import started_of
from ..structure_keys import area_at
from ..unlocking import refuse_locked, refuse_without_vault
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
from .restoring import Done, Goal, carry_out, carry_out_newest_first, chosen_goal, restore_hooks
from .sources import chosen_backup, named_paths, unlock_with


def restore(context: click.Context, asked: RestoreOptions) -> int:
    """Plan; show the plan, take back what was done of it, or recall what has to come back, restore, count and
    report. Returns the exit status."""
    with _opened(context, asked) as case:
        plan = case.plan()
        tell_moment(case.backup.moment)
        if case.earlier is not None:
            # Whoever has emptied the target meanwhile must not take this one for whole.
            done = counted(len(case.earlier.journal), "mailbox", "mailboxes")
            output.note(
                f"{done} came back before it was ended, and are not looked at again; if the target was "
                "emptied since, restore anew"
            )
        if case.again is not None and case.again.undone is not None:
            return _taken_back(case, plan, case.again.undone)
        if asked.dry_run:
            return _rehearsed(case, plan)
        plan, engine = _brought_here(case, plan)
        tell_missing(plan)
        if case.reads_encrypted_mail:
            archives = [planned.task.archives for planned in plan.tasks]
            refuse_locked(archives, case.backup.slots)
            refuse_without_vault(archives, case.backup.slots)
        return _restored(case, plan, _for_size(case, plan, engine))


@contextmanager
def _opened(context: click.Context, asked: RestoreOptions) -> Iterator[_Case]:
    """What a restore is made from, with the backup and the workers open as long as the context lasts."""
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
                unlock=unlock_with(
                    asked.identities, asked.passphrase_files, files, at_hand=invocation.identity
                ),
            )
        )
        engine, access = stack.enter_context(
            open_restorers(
                goal.config,
                goal.workers,
                dry_run=asked.dry_run,
                alone=goal.alone,
                minding=None if asked.dry_run or asked.full_speed else goal.minding,
            )
        )
        refuse_other_moment(again, backup)
        later = stack.enter_context(_newest(invocation, asked, paths, again))
        renaming = _renaming(asked, backup, area)
        yield _Case(
            context=context,
            asked=asked,
            paths=tuple(paths),
            goal=goal,
            targets=_targets(asked, goal, backup, renaming, area, earlier),
            backup=backup,
            engine=engine,
            access=access,
            area=area,
            again=again,
            earlier=earlier,
            renaming=renaming,
            later=later,
            day=_day(again),
        )


def _targets(
    asked: RestoreOptions,
    goal: Goal,
    backup: BackupSet,
    renaming: Renaming | None,
    area: Path | None,
    earlier: OpenRestore | None,
) -> dict[str, Partition]:
    """Where the mail of each partition goes, or of each that it is renamed to."""
    partitions = {version.partition for version in backup.versions}
    if renaming is not None:
        partitions = {renaming.place(mailbox_version).partition for mailbox_version in backup.versions}
    return {
        name: asked.target(_above_earlier(target, name, backup, area, earlier))
        for name, target in goal.targets(partitions).items()
    }


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


class _Case(Record, kw_only=True):
    """A restore that is asked for: all that it is made from, and who carries it out. ``again`` and
    ``earlier`` say with which other restore it goes on, ``later`` is the newest backup where it counts."""

    context: click.Context
    asked: RestoreOptions
    paths: tuple[LogicalPath, ...]
    goal: Goal
    targets: dict[str, Partition]
    backup: BackupSet
    engine: Engine
    access: Access | None
    area: Path | None
    again: Again | None
    earlier: OpenRestore | None
    renaming: Renaming | None
    later: BackupSet | None
    day: str

    @property
    def invocation(self) -> Invocation:
        return cast(Invocation, self.context.obj)

    @property
    def margins(self) -> dict[str, int]:
        """How far folders are raised, by partition."""
        return {name: partition.renumbering.uid_margin for name, partition in self.targets.items()}

    @property
    def reads_encrypted_mail(self) -> bool:
        """Whether it may take private keys."""
        asked = self.asked
        return bool(self.backup.archives.keys.structures) and not (asked.state_only or asked.provision_only)

    def plan(self, backup: BackupSet | None = None) -> RestorePlan:
        """The plan, without what is done; of this ``backup`` where archives have come back meanwhile. Raises
        as ``plan_restore``."""
        with kept_records():
            plan = plan_restore(
                backup or self.backup,
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
        if self.again is None:
            return plan
        return narrowed(plan, self.earlier.journal if self.earlier else Journal(), self.again.only)

    def needed_first(self, plan: RestorePlan) -> list[ArchiveId]:
        """The archives that have to be brought back before."""
        archives = [file.archive for file in plan.needs]
        return to_recall(self.backup.archives, archives, far=self.access is not None)


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
        unlock=unlock_with(asked.identities, asked.passphrase_files, at_hand=invocation.identity),
    ) as newest:
        yield newest


def _rehearsed(case: _Case, plan: RestorePlan) -> int:
    """Tell the plan, what would come back first, and what it would meet; of state, what would change."""
    asked = case.asked
    if asked.state_only or asked.exact:
        would = carry_out(plan.tasks, case.engine, case.backup.archives, as_json=asked.as_json)
        return tell_state(would, plan, case.backup, exact=asked.exact, as_json=asked.as_json)
    # Nobody else needs these, and they take a tenth of the time in which one message comes back.
    from ..prospect import look_ahead
    from ..restores.rates import measured_rate
    from .restore_plan import tell_plan

    tell_missing(plan)
    wanted = case.needed_first(plan)
    prospect = look_ahead(plan, case.engine, lambda _: None, workers=case.goal.workers, access=case.access)
    rate = measured_rate(case.area) if case.area is not None else None
    locked = _why_locked(case, plan, wanted)
    return tell_plan(plan, case.backup, wanted, prospect, rate, locked, as_json=asked.as_json)


def _why_locked(case: _Case, plan: RestorePlan, recalled: Sequence[ArchiveId]) -> str:
    """Why archives that are here could not be decrypted; empty if they can. Those that have to be recalled
    first nobody can look into."""
    if not case.reads_encrypted_mail:
        return ""
    away = frozenset(recalled)
    tasks = (planned.task.archives for planned in plan.tasks)
    here = [archives.of(archives.locations.keys() - away) for archives in tasks]
    try:
        refuse_locked(here, case.backup.slots)
        refuse_without_vault(here, case.backup.slots)
    except EncryptedError as error:
        return error.message
    return ""


def _brought_here(case: _Case, plan: RestorePlan) -> tuple[RestorePlan, Engine]:
    """Bring archives back, where some have to be; the plan that there is then, and who carries it out."""
    asked, goal = case.asked, case.goal
    wanted = case.needed_first(plan)
    # Folders and state need little more than what lies in the staging area of every archive.
    if not wanted or asked.provision_only or asked.state_only:
        return plan, case.engine
    from .recalling import bring_back  # which most restores do without

    recalled = bring_back(
        case.invocation,
        asked.staging,
        case.backup.archives,
        wanted,
        goal.workers,
        asked.wait,
        as_json=asked.as_json,
        # Who names a destination wants to see that its copy is good.
        afresh=asked.only is not None,
    )
    plan = case.plan(replace(case.backup, archives=case.backup.archives.back(dict(recalled.now))))
    if recalled.failed and case.access is None and not goal.alone:
        # What is whole of them is read where it is, by one worker: a drive is for one.
        return plan, adapters.make_engine(1)
    return plan, case.engine


def _for_size(case: _Case, plan: RestorePlan, engine: Engine) -> Engine:
    """Who carries a plan out: this process where it is small and nobody asked for workers, else ``engine``,
    whose workers here are loaded from now on."""
    if case.access is not None or case.goal.alone:
        return engine
    if plan.is_small and case.asked.workers is None:
        return adapters.make_engine(0)
    from .workers import prepare_restore  # one message comes back without

    prepare_restore()
    return engine


def _taken_back(case: _Case, plan: RestorePlan, directory: Path) -> int:
    """Take back what was done of a plan by the restore of this directory, with a record of that."""
    asked = case.asked
    undoing = Undoing(
        directory=directory,
        restore=directory.name,
        engine=case.engine,
        access=case.access,
        hooks=restore_hooks(case.invocation, case.goal.config, files=(), staging=asked.staging),
        dry_run=asked.dry_run,
        as_json=asked.as_json,
    )
    # What a worker puts there that outlives its coordinator would stay.
    with at_rest(undoing.directory):
        undo = undoing.plan(plan, case.backup)
        if asked.dry_run:
            return undoing.rehearse(undo)
        with recorded(
            case.context, asked.staging, case.area, case.backup, plan, case.margins, None
        ) as record:
            if record is None:
                raise StagingError("without a record nothing is taken back")
            report, status = undoing.carry_out(undo, record)
        end(record, report, ())
    return status


def _restored(case: _Case, plan: RestorePlan, engine: Engine) -> int:
    """Carry a plan out, with a record of it and the hooks around it; tell what became of it."""
    asked, backup = case.asked, case.backup
    hooks = restore_hooks(case.invocation, case.goal.config, files=asked.files, staging=asked.staging)
    # One file for all is whole at its end only: nothing of it could be gone on with.
    place = None if case.goal.alone else case.area
    lasting = why_lasting(plan, place)
    if asked.is_newest_first:
        lasting = "mailboxes come back in parts, while they are in use"
    with recorded(
        case.context, asked.staging, place, backup, plan, case.margins, case.earlier, lasting, case.later
    ) as record:
        head: dict[str, object] = {"restore": record.order.restore} if record else {}
        plan, head["undoable"] = _undoable(case, plan, record, lasting)
        with hooks.around("restore", {"paths": list(map(str, case.paths)), **head}) as around:
            done = _carried_out(case, plan, engine, record)
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


def _carried_out(case: _Case, plan: RestorePlan, engine: Engine, record: OpenRestore | None) -> Done:
    """All at once, or pass by pass."""
    asked = case.asked
    journal = record.journal if record else Journal()
    witness = record.witness if record else None
    if not asked.is_newest_first:
        return carry_out(
            plan.tasks,
            engine,
            case.backup.archives,
            journal,
            targets=plan.targets,
            witness=witness,
            as_json=asked.as_json,
        )
    run = RunId(record.order.run) if record else max(version.run for version in case.backup.versions)
    return carry_out_newest_first(
        plan,
        started_of(run),
        engine,
        journal,
        _ahead(asked, record),
        asked.read_announcement(),
        witness=witness,
        as_json=asked.as_json,
    )


def _undoable(
    case: _Case, plan: RestorePlan, record: OpenRestore | None, lasting: str
) -> tuple[RestorePlan, bool]:
    """The plan when it is kept how mailboxes are, or its tasks keep that first; and whether it can be taken
    back. Else that is told."""
    if record is not None and case.area is not None and not lasting:
        if case.access is not None:
            output.note("first all mailboxes are kept as they are, so that this restore can be undone")
        kept = keep_before(plan, record, _staging(case, case.area), utc(adapters.clock().now()), case.access)
        plan, lasting = kept.plan, kept.why
        if not lasting:
            return plan, True
    output.note(f"this restore can't be undone: {lasting or 'it is not recorded'}")
    return plan, False


def _staging(case: _Case, area: Path) -> StagingArea:
    """The staging area, as workers reach it."""
    if case.access is not None:
        return case.access.area
    config = case.goal.config
    return area_at(area, reserve_bytes=config.staging.reserve_bytes if config else 0)


def _ahead(asked: RestoreOptions, record: OpenRestore | None) -> Ahead:
    """Who comes first, as it is told by files."""
    places = [make_place(record.directory)] if record else []
    places += [asked.first_from] if asked.first_from else []
    return Ahead(look=lambda: taken(places))
