"""Before a restore changes mailboxes it keeps how they are (``before`` says what that is, and reads it).

Beside the staging area each task keeps its mailboxes first, then restores them. Workers on other hosts keep
all of them before anything is restored, and send that to the receiver under names that count for nothing.
Here it is looked at and renamed, and what is not kept is put on record; then the restore begins. So a worker
that was cut off, and goes on, alters nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from ...proto.archive.reader import open_sealed
from ...proto.directories import sync_directory
from ...proto.errors import BackupError, DamagedError, StagingError, StoreError
from ...proto.records import ARCHIVE_ID_BYTES, ArchiveId, RunId
from ...proto.structs import Record, field, replace
from ...worker.archives.names import before_name, sent_name
from ...worker.archives.places import open_local
from ...worker.before import Before, users_in
from ...worker.load import LoadLimits
from ...worker.staging.area import StagingArea
from ...worker.stores.registry import can_be_undone, open_removal
from ...worker.tasks.keeping import KeepTask, run_keep
from ...worker.tasks.restore import RestoreTask
from ...worker.unkept import Unkept, note_unkept
from ..access import Access
from ..catalog import Catalog
from ..holds import Hold, add_holds, drop_holds_of
from ..restore_plan import PlannedTask, RestorePlan
from .before import KeptBefore, discard_unfinished, last_number, place_of, read_before, whose
from .record import OpenRestore


class Kept(Record, kw_only=True):
    """A ``plan`` whose tasks keep how mailboxes are before they change them, or tell of which that is not
    known; and ``why`` what it does can't be taken back; empty: it can."""

    plan: RestorePlan
    why: str = ""


def why_lasting(plan: RestorePlan, staging: Path | None) -> str:
    """Why a restore can't be taken back; empty: it can."""
    if staging is None:
        return "it keeps no record in a staging area"
    for mailbox in plan.mailboxes:
        if not can_be_undone(mailbox.target):
            return (
                f"what goes to {mailbox.target.format} can't be taken back, only what goes into a "
                "Maildir store"
            )
    return ""


def keep_before(
    plan: RestorePlan, record: OpenRestore, area: StagingArea, now: datetime, access: Access | None
) -> Kept:
    """Let it be kept how the mailboxes of a plan are, where that is not kept yet; what this refers to is held
    from now on, if any of them is there. With ``access`` workers on other hosts keep it now, else the tasks
    will. What can't be kept is on record when this returns.

    Raises StagingError where that can't be recorded, ClusterLostError: nothing may be changed then.
    """
    try:
        known = read_before(record.directory)
    except BackupError as error:
        return Kept(plan=plan, why=error.message)
    discard_unfinished(record.directory)
    wanted = list(_wanted(plan, record, known))
    try:
        befores = _befores(plan, wanted, record, area, now, everywhere=access is not None)
    except BackupError as error:
        for wish in wanted:
            _note(wish, record, dict.fromkeys(wish.places, error.message))
        return Kept(plan=plan, why=error.message)
    if access is None:
        return Kept(plan=_with(plan, wanted, {}, befores))
    lost = _keep_elsewhere(wanted, befores, record, known, access)
    whys = [why for one in wanted for why in lost.get(one.name, {}).values()]
    none = not known.mailboxes and len(whys) == sum(len(one.places) for one in wanted)
    return Kept(plan=_with(plan, wanted, lost, {}), why=whys[0] if whys and none else "")


class _Wanted(Record, kw_only=True):
    """What of a task is to be kept, in the file ``name`` of the staging area, which is that of no other task:
    the mailboxes of the users of ``places``. Those ``unkept`` an earlier attempt may have changed: what is
    there now is kept by no later one."""

    planned: PlannedTask
    name: str
    places: Mapping[str, bytes]
    unkept: Mapping[str, str]

    @property
    def task(self) -> RestoreTask:
        return self.planned.task

    @property
    def partition(self) -> str:
        """That of the backup, from which it is restored."""
        return self.task.choices[0].path.partition or ""


def _wanted(plan: RestorePlan, record: OpenRestore, known: KeptBefore) -> Iterator[_Wanted]:
    first = last_number(record.directory) + 1
    for number, planned in enumerate(plan.tasks, first):
        task = planned.task
        new = [choice for choice in task.choices if whose(choice, task.target) not in known.mailboxes]
        why = {one.to_user: known.why_unkept(whose(one, task.target)) for one in new}
        yield _Wanted(
            planned=planned,
            name=before_name(record.order.restore, number, place_of(task.target)),
            places={one.to_user: one.place for one in new if not why[one.to_user]},
            unkept={user: one for user, one in why.items() if one},
        )


def _befores(
    plan: RestorePlan,
    wanted: Sequence[_Wanted],
    record: OpenRestore,
    area: StagingArea,
    now: datetime,
    *,
    everywhere: bool,
) -> dict[str, Before]:
    """What is to be kept, by its name, where there is anything; ``everywhere``: also on other hosts, where
    nobody can see from here if mailboxes are there."""
    staging = Path(area.path)
    found: dict[str, Before] = {}
    with Catalog.open(staging) as catalog:
        if any(one.places for one in wanted) if everywhere else any(map(_changes_any, plan.tasks)):
            _hold(catalog, staging, plan, record, now)
        for wish in wanted:
            if wish.places:
                group = wish.task.choices[0].path.group or ""
                archive = ArchiveId(os.urandom(ARCHIVE_ID_BYTES))
                found[wish.name] = Before(
                    name=sent_name(wish.name, archive) if everywhere else wish.name,
                    archive=archive,
                    restore=RunId(record.order.restore),
                    target=wish.task.target,
                    partition=wish.partition,
                    group=group,
                    places=wish.places,
                    parents=catalog.parents(wish.partition, group, wish.places),
                    area=area.to_keep_before(wish.partition, wish.places),
                    began=now.timestamp(),
                )
    return found


def _with(
    plan: RestorePlan,
    wanted: Sequence[_Wanted],
    lost: Mapping[str, Mapping[str, str]],
    befores: Mapping[str, Before],
) -> RestorePlan:
    """The plan when it is known what is kept, and by whom."""
    tasks = (
        replace(
            wish.planned,
            task=replace(
                wish.task,
                before=befores.get(wish.name),
                unkept={**wish.unkept, **lost.get(wish.name, {})},
            ),
        )
        for wish in wanted
    )
    return replace(plan, tasks=tuple(tasks))


def _note(one: _Wanted, record: OpenRestore, why: Mapping[str, str]) -> None:
    """Record which of its mailboxes are not kept. Raises StagingError."""
    if why:
        note_unkept(record.directory / Path(one.name).name, Unkept(one.partition, why))


# Holds


def _changes_any(planned: PlannedTask) -> bool:
    """Whether any mailbox is there that the task restores. Who restores into a new place holds nothing for
    that."""
    task = planned.task
    store = open_removal(task.target, {one.to_user: one.place for one in task.choices})
    for choice in task.choices:
        with suppress(StoreError):  # who can't lie anywhere is told of by the restore
            if store.stands(choice.to_user):
                return True
    return False


def _hold(catalog: Catalog, staging: Path, plan: RestorePlan, record: OpenRestore, now: datetime) -> None:
    """Hold of each group the moment that is restored, which may be an earlier one than that of others; and
    the newest one: what is new since then is all that the archives of before hold."""
    order = record.order
    restore, held = order.restore, {RunId(order.run)}
    of_groups: dict[tuple[str, str], set[RunId]] = {}
    for mailbox in plan.mailboxes:
        of_groups.setdefault((mailbox.version.partition, mailbox.version.group), set()).add(
            mailbox.version.run
        )
    for scope, stored in of_groups.items():
        moments = [moment.run for moment in catalog.moments(*scope)]
        held.update(moments[-1:])
        held.update([run_id for run_id in moments if run_id <= order.run][-1:])
        if order.departed:  # what was gone by that moment was there at an earlier one
            held.update(next((one for one in moments if one >= run), run) for run in stored)
    runs = sorted(held)
    reason = f"restore {restore} can be undone"
    add_holds(staging, [Hold(run=one, reason=reason, since=now, restore=restore) for one in runs])


def _let_go(staging: Path, restore: str) -> None:
    """Drop the holds of a restore that needs none; where that can't be done now they go when they are old."""
    with suppress(BackupError):
        drop_holds_of(staging, lambda one: one == restore)


# On other hosts


class KeepWork(Record, kw_only=True):
    """A Task: keep what is to be kept ``before`` another. It is called ``name`` when it counts."""

    name: str
    before: Before
    load: LoadLimits = field(default_factory=LoadLimits)
    access: Access

    @property
    def label(self) -> str:
        """See Task."""
        return self.name

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.before.target.hosts

    def attempted(self, host: str, attempt: int) -> KeepTask:
        """See Task."""
        access, near = self.access, self.access.is_near(host)
        return KeepTask(
            before=self.before,
            attempt=attempt,
            load=self.load,
            host=host,
            grant=b"" if near else access.grant_writing(host, self.before.name, attempt),
            read_grant=b"" if near else access.grant(host),
        )


def _keep_elsewhere(
    wanted: Sequence[_Wanted],
    befores: Mapping[str, Before],
    record: OpenRestore,
    known: KeptBefore,
    access: Access,
) -> dict[str, Mapping[str, str]]:
    """Let it be kept; returns what is not, by the name of that: users, and why. All of it is durable then.
    Raises StagingError, ClusterLostError."""
    of_name = {wish.name: wish for wish in wanted}
    works = [
        KeepWork(name=name, before=before, load=of_name[name].task.load, access=access)
        for name, before in befores.items()
    ]
    lost: dict[str, Mapping[str, str]] = {}
    stood = any(known.mailboxes.values())
    for outcome in access.keeper(run_keep, works, lambda _told: None):
        work = outcome.task
        try:
            if outcome.report is None:
                raise outcome.failure()
            gone = outcome.report
            if gone.keys() < work.before.places.keys():
                stood |= _take(work)
        except BackupError as error:
            gone = dict.fromkeys(work.before.places, error.message)
        _discard(work.before.path)  # first: which mailboxes are not kept needs room, too
        if gone:
            lost[work.name] = gone
            _note(of_name[work.name], record, gone)
    try:
        sync_directory(record.directory)
    except OSError as error:
        path = str(record.directory)
        raise StagingError(f"{path}: can't be written: {error.strerror}", path=path) from error
    if works and not stood:
        _let_go(Path(access.area.path), record.order.restore)
    return lost


def _take(work: KeepWork) -> bool:
    """Let count what a worker has sent; returns whether any of the mailboxes was there. Raises BackupError
    unless it is whole, and is what was to be sent."""
    before = work.before
    with closing(open_local(str(before.path))) as file:
        archive = open_sealed(file, keys=before.area.keys)
        header, users = archive.header, users_in(archive)
    told = (header.archive, header.run, header.partition)
    if told != (before.archive, before.restore, before.partition) or not _are_among(users, before.places):
        raise DamagedError(f"{before.path}: it is not what was to be kept", reason="foreign")
    try:
        os.rename(before.path, Path(before.area.path, work.name))
    except OSError as error:
        raise StagingError(f"{before.path}: can't be renamed: {error.strerror}") from error
    return any(users.values())


def _are_among(users: Collection[str], places: Mapping[str, bytes]) -> bool:
    return all(user in places for user in users)


def _discard(sent: Path) -> None:
    """Remove what of an archive counts for nothing: it may be this that takes the room."""
    for path in sent.parent.glob(f"{sent.name}*"):
        with suppress(OSError):
            path.unlink(missing_ok=True)
