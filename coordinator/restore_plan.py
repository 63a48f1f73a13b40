"""What a restore is to do: the mailboxes that it has, where they go, what they need, and the tasks that they
make. A plan is the same whether it is shown, carried out, gone on with or taken back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from ..groups.paths import LogicalPath
from ..groups.renames import Renamed
from ..proto.archive.stored import StoredMailbox
from ..proto.errors import DamagedError, ErasedError, NotFoundError, UsageError
from ..proto.records import (
    ArchiveId,
    Partition,
    RunId,
)
from ..proto.structs import Record, replace
from ..worker.archives.availability import Availabilities
from ..worker.archives.holdings import Holdings
from ..worker.archives.opened import OpenArchives
from ..worker.choice import Choice, Exactly, Extent, StateRules
from ..worker.load import NO_LIMITS, LoadLimits
from ..worker.stores.registry import is_one_file, keeps_places
from ..worker.tasks.restore import RestoreTask
from .access import Access, grants_for, reached
from .backup_set import BackupSet, NeededFile, needs_of, opened
from .browsing.levels import no_such_folder
from .history import MailboxVersion
from .renaming import Renaming
from .restores.journal import Journal

# What one process restores in about the 0.2 s that it takes to load another.
_FEW_MAILBOXES = 4  # for each of which a server's own commands may run
_FEW_MESSAGES = 1000
_FEW_BYTES = 32 << 20


class PlannedMailbox(Record, kw_only=True):
    """What is taken of one mailbox version, and where it goes: so many ``messages``, without those that are
    known to be ``lacking``; and the archives that it ``needs``, as far as they are known."""

    version: MailboxVersion
    choice: Choice
    target: Partition
    messages: int
    size_bytes: int
    needs: tuple[ArchiveId, ...]
    lacking: int = 0


class PlannedTask(Record, kw_only=True):
    """A task for a worker, and what it holds in all."""

    task: RestoreTask
    messages: int
    size_bytes: int


class Conflict(Record, kw_only=True):
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


class RestorePlan(Record, kw_only=True):
    """What will be restored: mailboxes, by archive and user, and the tasks that they are split into.
    ``needs`` are the archives that it takes, whether they are there or not; with ``conflicts`` it can't be
    carried out. ``targets`` is where mail goes, also that which is there already where a restore goes on."""

    mailboxes: tuple[PlannedMailbox, ...]
    tasks: tuple[PlannedTask, ...]
    archives: Holdings
    needs: tuple[NeededFile, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    targets: tuple[Partition, ...] = ()

    @property
    def missing(self) -> tuple[NeededFile, ...]:
        """The archives that it takes and that are not there."""
        return tuple(file for file in self.needs if not file.there)

    @property
    def lacking(self) -> int:
        """How many messages are known not to be there any more."""
        return sum(mailbox.lacking for mailbox in self.mailboxes)

    @property
    def messages(self) -> int:
        """How many messages will be restored."""
        return sum(mailbox.messages for mailbox in self.mailboxes)

    @property
    def size_bytes(self) -> int:
        """How many bytes of mail will be restored."""
        return sum(mailbox.size_bytes for mailbox in self.mailboxes)

    @property
    def is_small(self) -> bool:
        """Whether it is done sooner than workers for it are loaded."""
        few = len(self.mailboxes) <= _FEW_MAILBOXES and self.messages <= _FEW_MESSAGES
        return few and self.size_bytes <= _FEW_BYTES


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
    renaming: Renaming | None = None,
    load: LoadLimits = NO_LIMITS,
    state: StateRules | None = None,
    later: BackupSet | None = None,
    exactly: Exactly | None = None,
) -> RestorePlan:
    """Choose the mailboxes and split them into tasks. ``exact``, for a plan that is to be looked at: where an
    archive is missing that a mailbox refers to, it is found out how many messages that costs; and several
    mailboxes that would become one are told in the plan.

    ``targets`` says for each partition where it goes; ``as_user`` names the one whose mailbox the chosen one
    becomes, ``into`` the folder below which it does. With ``renaming`` mailboxes become those of other users,
    or of other partitions. With ``state`` nothing but that of messages is restored, merged with what the
    newest backup, ``later``, tells of them; with ``exactly`` mailboxes become just as they were. Without
    ``access`` the tasks can be done on this host only. ``load`` is how much of a host they take.

    Raises NotFoundError for a path that the backup does not hold, UsageError for a target that is missing
    and, unless ``exact``, for several mailboxes that would become one.
    """
    if later is not None:
        backup = replace(backup, references={**later.references, **backup.references})
    needed = _NeededFiles(backup)
    aim = _Aim(targets, as_user, renaming)
    with opened(backup) as archives:
        there = Availabilities(archives.data, {}) if exact else None
        bases = _Later(backup, later, archives)
        chosen = []
        for path in _without_covered(paths):
            for version in backup.select(path):
                planned = _planned(backup, archives, version, path, aim, into, there, needed)
                chosen.append(bases.stated(_of_extent(extent, exactly, planned), state))
    conflicts = tuple(_conflicts(chosen))
    if conflicts and not exact:
        raise UsageError(str(conflicts[0]))
    grouped = _grouped(chosen)
    return RestorePlan(
        mailboxes=tuple(mailbox for group in grouped.values() for mailbox in group),
        tasks=tuple(_tasks(backup, grouped, workers, access, _Renamed(renaming), load)),
        archives=backup.archives,
        needs=tuple(
            map(needed, dict.fromkeys(need for planned_mailbox in chosen for need in planned_mailbox.needs))
        ),
        conflicts=conflicts,
        targets=tuple(dict.fromkeys(target for target, _ in grouped)),
    )


def _tasks(
    backup: BackupSet,
    grouped: Mapping[tuple[Partition, ArchiveId], Sequence[PlannedMailbox]],
    workers: int,
    access: Access | None,
    renamed: _Renamed,
    load: LoadLimits,
) -> Iterator[PlannedTask]:
    """Mailboxes of one archive and target, cut into two tasks for each worker."""
    number = 0
    for (target, _), group in grouped.items():
        total = sum(map(_weight, group))
        grants = grants_for(access, target)
        most = total + 1 if is_one_file(target) else max(1, total // (2 * workers))
        for part in _parts(group, most):
            number += 1
            whose = part[0].version
            yield PlannedTask(
                task=RestoreTask(
                    archives=reached(
                        backup.needed(_named_in(part)),
                        access,
                        [(mailbox.version.partition, mailbox.version.user) for mailbox in part],
                    ),
                    choices=tuple(planned_mailbox.choice for planned_mailbox in part),
                    target=target,
                    label=f"{whose.partition}/{whose.group} {number}",
                    grants=grants,
                    renamed=renamed.in_partition(whose.partition),
                    load=load,
                ),
                messages=sum(one.messages for one in part),
                size_bytes=sum(one.size_bytes for one in part),
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


class _Aim(Record):
    """Where mailboxes go."""

    targets: Mapping[str, Partition]
    as_user: str | None
    renaming: Renaming | None

    def of(self, version: MailboxVersion) -> tuple[Partition, str]:
        """The target of a mailbox, and whose it becomes. Raises UsageError."""
        partition, user = version.partition, self.as_user or version.user
        if self.renaming is not None:
            partition, user = self.renaming.place(version)
        target = self.targets.get(partition)
        if target is None:
            raise UsageError(f"no target for partition {partition!r}: say where to with --to FORMAT:DIR")
        return target, user


class _Renamed:
    """The users who are renamed, by the partition whose mail names them; in memory once for all tasks."""

    def __init__(self, renaming: Renaming | None) -> None:
        self._renaming = renaming
        self._known: dict[str, Renamed] = {}

    def in_partition(self, partition: str) -> Renamed:
        if self._renaming is None:
            return Renamed()
        if partition not in self._known:
            self._known[partition] = self._renaming.renamed(partition)
        return self._known[partition]


class _Later:
    """The versions of mailboxes in the newest backup, where that is later than what is restored."""

    def __init__(self, backup: BackupSet, later: BackupSet | None, archives: OpenArchives) -> None:
        self._backup = backup
        self._archives = archives
        newest: dict[tuple[str, str], MailboxVersion] = {}
        for version in later.versions if later else ():
            known = newest.get((version.partition, version.user))
            if known is None or known.run < version.run:
                newest[version.partition, version.user] = version
        self._newest = newest

    def stated(self, planned: PlannedMailbox, state: StateRules | None) -> PlannedMailbox:
        """A mailbox of which nothing but the state is restored, if that is wanted."""
        if state is None:
            return planned
        version = planned.version
        newest = self._newest.get((version.partition, version.user))
        needs = planned.needs
        if newest is not None and newest.archive != version.archive and newest.run > version.run:
            state = replace(state, later=newest.archive)
            needs = tuple(dict.fromkeys((*needs, *needs_of(self._backup, self._archives, newest))))
        choice = replace(planned.choice, state=state)
        return replace(planned, choice=choice, size_bytes=0, needs=needs)


def _named_in(part: Sequence[PlannedMailbox]) -> set[ArchiveId]:
    """The archives whose metadata tells of mailboxes."""
    later = {
        mailbox.choice.state.later for mailbox in part if mailbox.choice.state and mailbox.choice.state.later
    }
    return {planned_mailbox.version.archive for planned_mailbox in part} | later


def _weight(mailbox: PlannedMailbox) -> int:
    """How much work a mailbox is: by bytes, where there are any."""
    return mailbox.size_bytes or mailbox.messages


Kept = Mapping[tuple[ArchiveId, str, str], PlannedMailbox]


def narrowed(plan: RestorePlan, journal: Journal, only: Collection[str] = ()) -> RestorePlan:
    """What is left of a plan: without what the journal has, and of the rest, if ``only`` is not empty, just
    what these paths name (see ``Choice.only``)."""
    named: dict[LogicalPath, set[str]] = {}
    for path in only:
        named.setdefault(_whose(path), set()).add(path)

    def left(mailbox: PlannedMailbox) -> PlannedMailbox | None:
        whose = _named(mailbox.version)
        if mailbox.choice.key in journal or (only and whose not in named):
            return None
        if not only:
            return mailbox
        paths = frozenset(named[whose])
        return replace(
            mailbox, choice=replace(mailbox.choice, only=paths), messages=min(mailbox.messages, len(paths))
        )

    found = map(left, plan.mailboxes)
    kept: Kept = {
        planned_mailbox.choice.key: planned_mailbox
        for planned_mailbox in found
        if planned_mailbox is not None
    }
    needs = {need for one in kept.values() for need in one.needs}
    return replace(
        plan,
        mailboxes=tuple(kept.values()),
        tasks=tuple(
            task for planned_task in plan.tasks if (task := _narrowed_task(planned_task, kept)) is not None
        ),
        needs=tuple(file for file in plan.needs if file.archive in needs),
    )


def _narrowed_task(planned: PlannedTask, kept: Kept) -> PlannedTask | None:
    mailboxes = [kept[choice.key] for choice in planned.task.choices if choice.key in kept]
    if not mailboxes:
        return None
    return PlannedTask(
        task=replace(planned.task, choices=tuple(mailbox.choice for mailbox in mailboxes)),
        messages=sum(planned_mailbox.messages for planned_mailbox in mailboxes),
        size_bytes=sum(one.size_bytes for one in mailboxes),
    )


def names_mailbox(path: str) -> bool:
    """Whether something that a report names is a mailbox, or in one."""
    return len(_levels(path)) == 3


def paths_of_failures(paths: Sequence[LogicalPath], failed: Collection[str]) -> list[LogicalPath]:
    """What ``paths`` select of the mailboxes in which something ``failed``: all that a plan must have which
    tries it again."""
    mailboxes = dict.fromkeys(map(_whose, failed))
    return [
        replace(path, partition=mailbox.partition, group=mailbox.group, user=mailbox.user)
        for mailbox in mailboxes
        for path in paths
        if path.selects_partition(mailbox.partition or "")
        and path.selects_group(mailbox.group or "")
        and path.selects_user(mailbox.user or "")
    ]


def _whose(path: str) -> LogicalPath:
    """The mailbox of something that a report names."""
    partition, group, user = _levels(path)
    return LogicalPath.parse(f"/{partition}/{group}/{user}")


def _levels(path: str) -> list[str]:
    """Partition, group and user of something that a report names, as far as it has them."""
    return path.removeprefix("/").split("/", 3)[:3]


def _without_covered(paths: Sequence[LogicalPath]) -> list[LogicalPath]:
    """The paths without those that others cover: nothing is restored twice. There may be many users, but few
    paths of each, and few of no user."""
    kept: dict[str | None, list[LogicalPath]] = {}
    for path in paths:
        above = kept.get(None, [])
        if any(one.covers(path) for one in (*above, *kept.get(path.user, ()))):
            continue
        for user in [path.user] if path.user is not None else list(kept):
            kept[user] = [
                logical_path for logical_path in kept.get(user, ()) if not path.covers(logical_path)
            ]
        kept.setdefault(path.user, []).append(path)
    order = {path: number for number, path in enumerate(paths)}
    return sorted((one for some in kept.values() for one in some), key=order.__getitem__)


def _planned(
    backup: BackupSet,
    archives: OpenArchives,
    version: MailboxVersion,
    path: LogicalPath,
    aim: _Aim,
    into: str,
    there: Availabilities | None,
    needed: _NeededFiles,
) -> PlannedMailbox:
    target, user = aim.of(version)
    selected = LogicalPath(
        version.partition, version.group, version.user, path.folder, path.uid, path.name, path.explicit
    )
    place, messages, size_bytes, lacking = b"", version.stored, version.size_bytes, 0
    needs = needed.shared(needs_of(backup, archives, version))
    with suppress(DamagedError):
        if (entry := archives(version.archive).entry(version.user)) is not None:
            # What a mailbox lies in is called as its user.
            place = entry.place if user == version.user and keeps_places(target) else b""
    if all(needed(archive_id).there for archive_id in needs):
        there = None
    if there is not None:
        messages, size_bytes, lacking = 0, 0, version.stored
    with suppress(DamagedError, ErasedError):  # the task that meets it again tells of it
        if path.folder is not None or there is not None:
            stored = StoredMailbox(archives, version.archive, version.user)
            messages, size_bytes, lacking = _count(stored, selected, there)
    return PlannedMailbox(
        version=version,
        choice=Choice(
            archive=version.archive,
            user=version.user,
            to_user=user,
            place=place,
            path=selected,
            into=into,
        ),
        target=target,
        messages=messages,
        size_bytes=size_bytes,
        needs=needs,
        lacking=lacking,
    )


def _of_extent(extent: Extent, exactly: Exactly | None, planned: PlannedMailbox) -> PlannedMailbox:
    """The same with no messages, where none are wanted."""
    if exactly is not None:
        planned = replace(planned, choice=replace(planned.choice, exactly=exactly))
    if extent is Extent.ALL:
        return planned
    choice = replace(planned.choice, extent=extent)
    return replace(planned, choice=choice, messages=0, size_bytes=0, lacking=0)


def _count(stored: StoredMailbox, path: LogicalPath, there: Availabilities | None) -> tuple[int, int, int]:
    """Messages and bytes that a path into a mailbox selects, as far as they are ``there``, and how many are
    not. Raises NotFoundError."""
    mailbox = stored.mailbox
    names = [entry.folder.name for entry in mailbox.folders]
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
    """Mailboxes that would become one with another, each with the first of those. One without a place lies
    where its user has one, which may be the place of any other."""
    seen: dict[tuple[object, str], dict[bytes, MailboxVersion]] = {}
    for mailbox in chosen:
        place, second = mailbox.choice.place, mailbox.version
        places = seen.setdefault((mailbox.target, mailbox.choice.to_user), {})
        first = (
            places.get(place) or places.get(b"") or (second if place else next(iter(places.values()), second))
        )
        places.setdefault(place, second)
        if (first.archive, first.user) != (second.archive, second.user):
            yield Conflict(
                user=mailbox.choice.to_user,
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
    for mailbox in chosen:
        archive = ArchiveId(b"") if is_one_file(mailbox.target) else mailbox.version.archive
        grouped.setdefault((mailbox.target, archive), []).append(mailbox)
    for group in grouped.values():
        first = {
            planned_mailbox.version.user: place for place, planned_mailbox in reversed(list(enumerate(group)))
        }
        group.sort(key=lambda one: first[one.version.user])
    return grouped


def _parts(group: Sequence[PlannedMailbox], part_bytes: int) -> Iterator[list[PlannedMailbox]]:
    """Neighbours in the archive stay together: their blocks are read once. A mailbox is never divided:
    two workers that write into one would be in each other's way."""
    part: list[PlannedMailbox] = []
    size = 0
    for mailbox in group:
        if size >= part_bytes and mailbox.version.user != part[-1].version.user:
            yield part
            part, size = [], 0
        part.append(mailbox)
        size += _weight(mailbox)
    if part:
        yield part
