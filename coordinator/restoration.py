"""The table of contents of a restore: choose versions, plan tasks, dispatch, add up.

Restores need no lock: they read sealed archives and write to a mail store, never to the staging area.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.archive.stored import StoredMailbox
from ..proto.errors import DamagedError, NotFoundError, UsageError
from ..proto.ports import ProgressSink
from ..proto.records import ArchiveId, Partition, RestoreReport, RunId, Skipped
from ..worker.archives.availability import Availabilities
from ..worker.archives.holdings import Holdings
from ..worker.archives.opened import OpenArchives
from ..worker.restore import Choice, Extent
from ..worker.staging.area import StagingArea
from ..worker.stores.registry import is_one_file, keeps_places
from ..worker.tasks.restore import RestoreTask, run_restore
from .backup_set import BackupSet, NeededFile, needs_of, opened
from .browsing.levels import no_such_folder
from .catalog import Catalog
from .dispatch.engine import Engine
from .history import MailboxVersion
from .recalling import lose_copy


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMailbox:
    """What is taken of one mailbox version, and where it goes: so many ``messages``, without those that are
    known to be ``lacking``; and the archives that it ``needs``, as far as they are known."""

    version: MailboxVersion
    choice: Choice
    target: Partition
    messages: int
    size_bytes: int
    needs: tuple[ArchiveId, ...]
    lacking: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """A task for a worker, and what it holds in all."""

    task: RestoreTask
    messages: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How workers on other hosts read the archives of the staging ``area``: ``grant`` lets a host do it."""

    area: StagingArea
    grant: Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Two mailboxes, by their paths and runs, that would become one: that of ``user``."""

    user: str
    first: str
    first_run: RunId
    second: str
    second_run: RunId

    def __str__(self) -> str:
        return (
            f"two mailboxes would become that of {self.user!r}: {self.first} of run {self.first_run} and "
            f"{self.second} of run {self.second_run}; restore them one at a time"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What will be restored: mailboxes, by archive and user, and the tasks that they are split into.
    ``needs`` are the archives that it takes, whether they are there or not; with ``conflicts`` it can't be
    carried out."""

    mailboxes: tuple[PlannedMailbox, ...]
    tasks: tuple[PlannedTask, ...]
    archives: Holdings
    needs: tuple[NeededFile, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    @property
    def missing(self) -> tuple[NeededFile, ...]:
        """The archives that it takes and that are not there."""
        return tuple(one for one in self.needs if not one.there)

    @property
    def lacking(self) -> int:
        """How many messages are known not to be there any more."""
        return sum(one.lacking for one in self.mailboxes)

    @property
    def messages(self) -> int:
        """How many messages will be restored."""
        return sum(one.messages for one in self.mailboxes)

    @property
    def size_bytes(self) -> int:
        """How many bytes of mail will be restored."""
        return sum(one.size_bytes for one in self.mailboxes)


def plan_restore(
    backup: BackupSet,
    paths: Sequence[LogicalPath],
    targets: Mapping[str, Partition],
    *,
    as_user: str | None,
    into: str = "",
    workers: int,
    access: Access | None = None,
    exact: bool = False,
    extent: Extent = Extent.ALL,
) -> RestorePlan:
    """Choose the mailboxes and split them into tasks. ``exact``, for a plan that is to be looked at: where an
    archive is missing that a mailbox refers to, it is found out how many messages that costs; and several
    mailboxes that would become one are told in the plan.

    ``targets`` says for each partition of the backup where it goes; ``as_user`` names the one whose
    mailbox the chosen one becomes, ``into`` the folder below which it does. Without ``access`` the tasks can
    be done on this host only.

    Raises NotFoundError for a path that the backup does not hold, UsageError for a target that is missing
    and, unless ``exact``, for several mailboxes that would become one.
    """
    with opened(backup) as archives:
        there = Availabilities(archives.data, {}) if exact else None
        needed = _NeededFiles(backup)
        chosen = [
            _of_extent(
                extent, _planned(backup, archives, version, path, targets, as_user, into, there, needed)
            )
            for path in _without_covered(paths)
            for version in backup.select(path)
        ]
    conflicts = tuple(_conflicts(chosen))
    if conflicts and not exact:
        raise UsageError(str(conflicts[0]))
    tasks: list[PlannedTask] = []
    grouped = _grouped(chosen)
    for (target, _), group in grouped.items():
        total = sum(one.size_bytes for one in group)
        grants = grants_for(access, target)
        most = total + 1 if is_one_file(target) else max(1, total // (2 * workers))
        for part in _parts(group, most):
            task = RestoreTask(
                archives=reached(backup.needed({one.version.archive for one in part}), access),
                choices=tuple(one.choice for one in part),
                target=target,
                label=f"{part[0].version.partition}/{part[0].version.group} {len(tasks) + 1}",
                grants=grants,
            )
            tasks.append(
                PlannedTask(
                    task=task,
                    messages=sum(one.messages for one in part),
                    size_bytes=sum(one.size_bytes for one in part),
                )
            )
    return RestorePlan(
        mailboxes=tuple(one for group in grouped.values() for one in group),
        tasks=tuple(tasks),
        archives=backup.archives,
        needs=tuple(map(needed, dict.fromkeys(need for one in chosen for need in one.needs))),
        conflicts=conflicts,
    )


class _NeededFiles:
    """The files of archives, each looked for once: a hundred thousand mailboxes need the same few."""

    def __init__(self, backup: BackupSet) -> None:
        self._backup = backup
        self._known: dict[ArchiveId, NeededFile] = {}
        self._same: dict[tuple[ArchiveId, ...], tuple[ArchiveId, ...]] = {}

    def __call__(self, archive: ArchiveId) -> NeededFile:
        found = self._known.get(archive)
        if found is None:
            found = self._known[archive] = self._backup.needed_file(archive)
        return found

    def shared(self, needs: tuple[ArchiveId, ...]) -> tuple[ArchiveId, ...]:
        """The same archives, in memory once for all mailboxes that need just these."""
        return self._same.setdefault(needs, needs)


def reached(archives: Holdings, access: Access | None) -> Holdings:
    """Archives as those reach them who restore."""
    return archives if access is None else archives.reached(access.area)


def grants_for(access: Access | None, target: Partition) -> dict[str, bytes]:
    """What lets the hosts of a target read the archives."""
    if access is None:
        return {}
    return {host: access.grant(host) for host in target.hosts if host != access.area.host}


def run_tasks(planned: Sequence[PlannedTask], engine: Engine, on_progress: ProgressSink) -> RestoreReport:
    """Carry tasks out. A task that fails is told as skipped mailboxes; the others go on."""
    total = RestoreReport()
    tasks = [one.task for one in planned]
    for outcome in engine(run_restore, tasks, on_progress):
        if outcome.report is not None:
            report = outcome.report
        else:
            error = outcome.failure()
            report = RestoreReport(
                skipped=tuple(
                    Skipped(str(one.path), error.code, error.message) for one in outcome.task.choices
                )
            )
        total = added(total, report)
    return total


def added(total: RestoreReport, report: RestoreReport) -> RestoreReport:
    """Two reports in one."""
    return RestoreReport(
        restored=total.restored + report.restored,
        present=total.present + report.present,
        files=total.files + report.files,
        size_bytes=total.size_bytes + report.size_bytes,
        without_modseq=total.without_modseq + report.without_modseq,
        skipped=(*total.skipped, *report.skipped),
        damaged=(*total.damaged, *report.damaged),
        replaced=total.replaced | report.replaced,
        uids=(*total.uids, *report.uids),
    )


def note_damaged_copies(archives: Holdings, report: RestoreReport) -> None:
    """Copies that were damaged, and of which others were read, count no more: the next sweep makes others in
    their place. Raises StagingError."""
    areas = [one for one in archives.places if isinstance(one, StagingArea)]
    if report.replaced and areas:
        with Catalog.open(Path(areas[0].path), write=True) as catalog:
            for archive, location in sorted(report.replaced):
                with suppress(NotFoundError):  # purged meanwhile
                    lose_copy(catalog, archive, location)


def _without_covered(paths: Sequence[LogicalPath]) -> list[LogicalPath]:
    """The paths without those that others cover: nothing is restored twice."""
    kept: list[LogicalPath] = []
    for path in paths:
        if not any(one.covers(path) for one in kept):
            kept = [one for one in kept if not path.covers(one)] + [path]
    return kept


def _planned(
    backup: BackupSet,
    archives: OpenArchives,
    version: MailboxVersion,
    path: LogicalPath,
    targets: Mapping[str, Partition],
    as_user: str | None,
    into: str,
    there: Availabilities | None,
    needed: _NeededFiles,
) -> PlannedMailbox:
    if version.partition not in targets:
        raise UsageError(f"no target for partition {version.partition!r}: say where to with --to FORMAT:DIR")
    whose = LogicalPath(version.partition, version.group, version.user)
    selected = replace(path, partition=whose.partition, group=whose.group, user=whose.user)
    place, messages, size_bytes, lacking = b"", version.stored, version.size_bytes, 0
    needs = needed.shared(needs_of(backup, archives, version))
    with suppress(DamagedError):
        if (entry := archives(version.archive).entry(version.user)) is not None:
            place = entry.place if as_user is None and keeps_places(targets[version.partition]) else b""
    if all(needed(one).there for one in needs):
        there = None
    if there is not None:
        messages, size_bytes, lacking = 0, 0, version.stored
    with suppress(DamagedError):  # the task that meets it again tells of it
        if path.folder is not None or there is not None:
            stored = StoredMailbox(archives, version.archive, version.user)
            messages, size_bytes, lacking = _count(stored, selected, there)
    return PlannedMailbox(
        version=version,
        choice=Choice(
            archive=version.archive,
            user=version.user,
            to_user=as_user or version.user,
            place=place,
            path=selected,
            into=into,
        ),
        target=targets[version.partition],
        messages=messages,
        size_bytes=size_bytes,
        needs=needs,
        lacking=lacking,
    )


def _of_extent(extent: Extent, planned: PlannedMailbox) -> PlannedMailbox:
    """The same with no messages, where none are wanted."""
    planned = replace(planned, choice=replace(planned.choice, extent=extent))
    return planned if extent is Extent.ALL else replace(planned, messages=0, size_bytes=0, lacking=0)


def _count(stored: StoredMailbox, path: LogicalPath, there: Availabilities | None) -> tuple[int, int, int]:
    """Messages and bytes that a path into a mailbox selects, as far as they are ``there``, and how many are
    not. Raises NotFoundError."""
    mailbox = stored.mailbox
    names = [one.folder.name for one in mailbox.folders]
    resolved = path.resolve(names)
    if path.folder is not None and not any(resolved.selects_folder(name) for name in names):
        raise no_such_folder(resolved, mailbox)
    sizes: list[int] = []
    lacking = 0
    for folder in mailbox.folders:
        if not resolved.selects_folder(folder.folder.name):
            continue
        known = 0
        try:
            for message in stored.messages(folder, resolved.uid):
                known += 1
                if not resolved.selects_message(message.uid, message.base, message.suffix, message.place):
                    continue
                if there is None or there.lack(message.pieces) is None:
                    sizes.append(message.size)
                else:
                    lacking += 1
        except DamagedError:
            if there is None:
                raise
            lacking += folder.messages - known
    if not (sizes or lacking) and (resolved.uid is not None or resolved.name is not None):
        raise NotFoundError(f"{path}: the folder has no such message", path=str(path))
    return len(sizes), sum(sizes), lacking


def _conflicts(chosen: Sequence[PlannedMailbox]) -> Iterator[Conflict]:
    """Mailboxes that would become one with another, each with the first of those."""
    seen: dict[tuple[object, str, bytes], MailboxVersion] = {}
    for one in chosen:
        where = (one.target, one.choice.to_user, one.choice.place)
        first, second = seen.setdefault(where, one.version), one.version
        if (first.archive, first.user) != (second.archive, second.user):
            yield Conflict(
                user=one.choice.to_user,
                first=str(_named(first)),
                first_run=first.run,
                second=str(_named(second)),
                second_run=second.run,
            )


def _named(version: MailboxVersion) -> LogicalPath:
    return LogicalPath(version.partition, version.group, version.user)


def _grouped(
    chosen: Sequence[PlannedMailbox],
) -> dict[tuple[Partition, ArchiveId], list[PlannedMailbox]]:
    """By target and archive, in the order in which they were chosen; parts of one mailbox side by side. What
    goes into one file is one group."""
    grouped: dict[tuple[Partition, ArchiveId], list[PlannedMailbox]] = {}
    for one in chosen:
        archive = ArchiveId(b"") if is_one_file(one.target) else one.version.archive
        grouped.setdefault((one.target, archive), []).append(one)
    for group in grouped.values():
        first = {one.version.user: place for place, one in reversed(list(enumerate(group)))}
        group.sort(key=lambda one: first[one.version.user])
    return grouped


def _parts(group: Sequence[PlannedMailbox], part_bytes: int) -> Iterator[list[PlannedMailbox]]:
    """Neighbours in the archive stay together: their blocks are read once. A mailbox is never divided:
    two workers that write into one would be in each other's way."""
    part: list[PlannedMailbox] = []
    size = 0
    for one in group:
        if size >= part_bytes and one.version.user != part[-1].version.user:
            yield part
            part, size = [], 0
        part.append(one)
        size += one.size_bytes
    if part:
        yield part
