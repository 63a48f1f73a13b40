"""What is kept so that a restore can be taken back: archives of the mailboxes as they were before, beside its
journal (``before.NUMBER.PLACE``, as they are none of the backup), and holds on the moments that these refer
to.

Both are let go after ``KEPT_DAYS``, or when the directory of the restore is.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from ...groups.paths import LogicalPath
from ...proto.errors import BackupError, DamagedError, NotFoundError, StagingError, StoreError
from ...proto.records import ARCHIVE_ID_BYTES, ArchiveId, Location, Partition, RunId
from ...worker.archives.holdings import Folder, Holdings
from ...worker.archives.opened import opened_archives, read_beginning
from ...worker.before import Before
from ...worker.restore import Choice
from ...worker.staging.area import StagingArea
from ...worker.stores.registry import can_be_undone, open_removal
from ...worker.tasks.restore import RestoreTask
from ...worker.unkept import SUFFIX, UNNAMED, Unkept, note_unkept, read_unkept
from ..access import Access
from ..catalog import Catalog
from ..holds import Hold, add_holds, drop_holds_of
from ..restore_plan import PlannedTask, RestorePlan
from .journal import Journal, read_journal
from .record import OpenRestore, Order, directory_of, read_order, restores_of

KEPT_DAYS = 30
"""So long after it was begun a restore can be taken back, at most."""

_PLACE = "before"
_NAME = re.compile(r"before\.(\d+)\.([0-9a-f]{16})")
_UNDONE = "undone"


class Mailbox(NamedTuple):
    """A mailbox that a restore has changed: the partition of the backup that it came from, ``place_of`` the
    target, and its user there. A map may give several users of a partition one name, in several targets."""

    partition: str
    place: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBefore:
    """How mailboxes were before a restore: the archive that tells of each, None where there was no such
    mailbox; and the archives that this takes beside those of the backup. ``unkept`` are mailboxes that may
    have been changed without that, and why; in targets that are ``unnamed``, all that are not kept."""

    mailboxes: Mapping[Mailbox, ArchiveId | None] = field(default_factory=dict)
    archives: Holdings = field(default_factory=Holdings)
    references: frozenset[ArchiveId] = frozenset()
    unkept: Mapping[Mailbox, str] = field(default_factory=dict)
    unnamed: frozenset[str] = frozenset()

    @property
    def why(self) -> str:
        """Why some mailboxes are not kept that may have been changed; empty: there are none."""
        return next(iter(self.unkept.values()), UNNAMED if self.unnamed else "")

    def why_unkept(self, mailbox: Mailbox) -> str:
        """Why it is not known how a mailbox was that may have been changed; empty: it is known, or the
        mailbox is as it was."""
        if mailbox in self.mailboxes:
            return ""
        return self.unkept.get(mailbox) or (UNNAMED if mailbox.place in self.unnamed else "")

    def may_have_changed(self, mailboxes: Collection[Mailbox]) -> bool:
        """Whether the restore may have changed some of these, from wherever they came."""
        changed = {(one.place, one.user) for one in (*self.mailboxes, *self.unkept)}
        return any(one.place in self.unnamed or (one.place, one.user) in changed for one in mailboxes)

    def beside(self, archives: Holdings, backup: Holdings) -> Holdings:
        """Some archives of a ``backup``, and all that is needed to know how mailboxes were."""
        more = backup.of(self.references).locations
        return Holdings(
            locations={**archives.locations, **more, **self.archives.locations},
            places=(*archives.places, *self.archives.places),
        )


def whose(choice: Choice, target: Partition) -> Mailbox:
    """The mailbox that a choice is restored to."""
    return Mailbox(choice.path.partition or "", place_of(target), choice.to_user)


def place_of(target: Partition) -> str:
    """What tells a target from others: the same for all restores that go there."""
    where = "\0".join((target.format, target.path, *sorted(target.hosts)))
    return blake3(os.fsencode(where)).hexdigest(length=8)


def read_before(directory: Path) -> KeptBefore:
    """What is kept in the directory of a restore. Raises DamagedError, StagingError."""
    locations, places = {}, {}
    for path in sorted(directory.glob("before.*")):
        if named := _NAME.fullmatch(path.name):
            archive = read_beginning(str(path)).archive
            locations[archive] = (Location(_PLACE, path.name),)
            places[archive] = named[2]
    archives = Holdings(locations=locations, places=(Folder(name=_PLACE, path=str(directory)),))
    mailboxes: dict[Mailbox, ArchiveId | None] = {}
    references: set[ArchiveId] = set()
    with opened_archives(archives) as opened:
        for archive in locations:
            reader = opened(archive)
            if reader.damage:
                raise DamagedError(f"{reader.file.name} is damaged: how mailboxes were before is not known")
            partition, place = reader.header.partition, places[archive]
            there = (one.user for one in reader.directory.mailboxes)
            gone = (one.user for one in reader.departures())
            mailboxes.update((Mailbox(partition, place, user), archive) for user in there)
            mailboxes.update((Mailbox(partition, place, user), None) for user in gone)
            references.update(reader.directory.references)
    unkept, unnamed = _unkept_in(directory)
    return KeptBefore(
        mailboxes=mailboxes,
        archives=archives,
        references=frozenset(references),
        unkept=unkept,
        unnamed=unnamed,
    )


def _unkept_in(directory: Path) -> tuple[dict[Mailbox, str], frozenset[str]]:
    unkept: dict[Mailbox, str] = {}
    unnamed: set[str] = set()
    for path in sorted(directory.glob(f"before.*{SUFFIX}")):
        if named := _NAME.fullmatch(path.name.removesuffix(SUFFIX)):
            place = named[2]
            if (told := read_unkept(path)) is None:
                unnamed.add(place)
            else:
                unkept.update((Mailbox(told.partition, place, user), why) for user, why in told.users.items())
    return unkept, frozenset(unnamed)


def why_lasting(plan: RestorePlan, staging: Path | None, access: Access | None) -> str:
    """Why a restore can't be taken back; empty: it can. ``access``: its workers are on other hosts."""
    if staging is None:
        return "it keeps no record in a staging area"
    for one in plan.mailboxes:
        if not can_be_undone(one.target):
            return (
                f"what goes to {one.target.format} can't be taken back, only what goes into a Maildir store"
            )
    return "its workers are on several hosts" if access is not None else ""


def keep_before(plan: RestorePlan, record: OpenRestore, area: StagingArea, now: datetime) -> RestorePlan:
    """A plan whose tasks first keep how their mailboxes are, where that is not kept yet. What this refers to
    is held from now on, if there are any. Raises BackupError where that can't be done: nothing has changed
    then, and it is on record that these mailboxes are not kept."""
    known = read_before(record.directory)
    try:
        return _keeping(plan, record, known, area, now)
    except BackupError as error:
        _note_all_unkept(plan, record.directory, known, error.message)
        raise


def _keeping(
    plan: RestorePlan, record: OpenRestore, known: KeptBefore, area: StagingArea, now: datetime
) -> RestorePlan:
    number = _last_number(record.directory)
    tasks: list[PlannedTask] = []
    with Catalog.open(Path(area.path)) as catalog:
        if any(map(_changes_any, plan.tasks)):
            _hold(catalog, Path(area.path), plan, record, now)
        for planned in plan.tasks:
            task = planned.task
            new = [one for one in task.choices if whose(one, task.target) not in known.mailboxes]
            why = {one.to_user: known.why_unkept(whose(one, task.target)) for one in new}
            if new:
                number += 1
                path = _path_of(record.directory, number, task.target)
                places = {one.to_user: one.place for one in new if not why[one.to_user]}
                before = _before(task, places, path, record, area, catalog, now)
                before = replace(before, unkept={user: one for user, one in why.items() if one})
                task = replace(task, before=before)
            tasks.append(replace(planned, task=task))
    return replace(plan, tasks=tuple(tasks))


def _note_all_unkept(plan: RestorePlan, directory: Path, known: KeptBefore, why: str) -> None:
    number = _last_number(directory)
    for task in (planned.task for planned in plan.tasks):
        new = [one for one in task.choices if whose(one, task.target) not in known.mailboxes]
        if new:
            number += 1
            users = {one.to_user: known.why_unkept(whose(one, task.target)) or why for one in new}
            unkept = Unkept(new[0].path.partition or "", users)
            note_unkept(_path_of(directory, number, task.target), unkept)


def _path_of(directory: Path, number: int, target: Partition) -> Path:
    return directory / f"{_PLACE}.{number}.{place_of(target)}"


def _last_number(directory: Path) -> int:
    """Of an attempt that was ended early any may be there, in any order."""
    return max((_number(path.name) for path in directory.glob("before.*")), default=0)


def _number(name: str) -> int:
    named = _NAME.match(name)
    return int(named[1]) if named else 0


def _changes_any(planned: PlannedTask) -> bool:
    """Whether any mailbox is there that the task restores. Who restores into a new place holds nothing for
    that."""
    task = planned.task
    store = open_removal(task.target, {one.to_user: one.place for one in task.choices})
    for one in task.choices:
        with suppress(StoreError):  # who can't lie anywhere is told of by the restore
            if store.stands(one.to_user):
                return True
    return False


def _before(
    task: RestoreTask,
    places: Mapping[str, bytes],
    path: Path,
    record: OpenRestore,
    area: StagingArea,
    catalog: Catalog,
    now: datetime,
) -> Before:
    first = task.choices[0].path
    partition, group = first.partition or "", first.group or ""
    return Before(
        path=str(path),
        archive=ArchiveId(secrets.token_bytes(ARCHIVE_ID_BYTES)),
        restore=RunId(record.order.restore),
        target=task.target,
        partition=partition,
        group=group,
        places=places,
        parents=catalog.parents(partition, group, places),
        area=area,
        began=now.timestamp(),
    )


def _hold(catalog: Catalog, staging: Path, plan: RestorePlan, record: OpenRestore, now: datetime) -> None:
    """Hold of each group the moment that is restored, which may be an earlier one than that of others; and
    the newest one: what is new since then is all that the archives of before hold."""
    order = record.order
    restore, held = order.restore, {RunId(order.run)}
    of_groups: dict[tuple[str, str], set[RunId]] = {}
    for one in plan.mailboxes:
        of_groups.setdefault((one.version.partition, one.version.group), set()).add(one.version.run)
    for scope, stored in of_groups.items():
        moments = [one.run for one in catalog.moments(*scope)]
        held.update(moments[-1:])
        held.update([one for one in moments if one <= order.run][-1:])
        if order.departed:  # what was gone by that moment was there at an earlier one
            held.update(next((one for one in moments if one >= run), run) for run in stored)
    runs = sorted(held)
    reason = f"restore {restore} can be undone"
    add_holds(staging, [Hold(run=one, reason=reason, since=now, restore=restore) for one in runs])


def note_undone(directory: Path, undo: str) -> None:
    """Record that a restore was taken back, by another one. Raises OSError."""
    (directory / _UNDONE).write_text(undo + "\n", encoding="ascii")


def is_undone(directory: Path) -> bool:
    """Whether a restore was taken back."""
    return (directory / _UNDONE).exists()


def later_ones(staging: Path, restore: str, mailboxes: Collection[Mailbox]) -> Iterator[str]:
    """The restores after this one that have changed some of the same mailboxes, from wherever they came, and
    were not taken back."""
    for one in restores_of(staging):
        if one <= restore:
            continue
        directory = directory_of(staging, one)
        with suppress(DamagedError):
            if not is_undone(directory) and read_before(directory).may_have_changed(mailboxes):
                yield one


def lasting_ones(staging: Path, order: Order, mailboxes: Collection[Mailbox]) -> Iterator[str]:
    """The restores after this one that can't be taken back, and have brought mail to the same places for some
    of the same users."""
    users = {one.user for one in mailboxes}
    for one in restores_of(staging):
        if one <= order.restore:
            continue
        directory = directory_of(staging, one)
        with suppress(NotFoundError, StagingError):
            later = read_order(directory)
            if not later.lasting or later.places.isdisjoint(order.places):
                continue
            done = Journal(earlier=read_journal(directory / "journal.jsonl"))
            if any(LogicalPath.parse(path).user in users for _, path in done.mailboxes()):
                yield one


def forget_before(staging: Path, now: datetime) -> None:
    """Let go of what restores have kept that were begun too long ago, and of the holds of those that are not
    known any more. Raises BackupError."""
    kept = set()
    for one in restores_of(staging):
        directory = directory_of(staging, one)
        with suppress(NotFoundError):
            if now - read_order(directory).begun <= timedelta(days=KEPT_DAYS):
                kept.add(one)
                continue
        for path in directory.glob("before.*"):
            path.unlink(missing_ok=True)
    drop_holds_of(staging, kept)
