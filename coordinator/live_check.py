"""The live store beside a moment of its backup: choose mailboxes, split them into tasks, dispatch, gather.

A check needs no lock and changes nothing: it reads metadata of archives, and mail stores. Mending looks in
the same way, and puts back the content of what is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from ..groups.paths import LogicalPath
from ..proto.errors import UsageError
from ..proto.ports import ProgressSink
from ..proto.records import Partition, RestoreReport, Skipped
from ..proto.structs import Record, field_names, replace
from ..worker.live.check import Stored
from ..worker.live.findings import Finding, Identity, MailboxFindings
from ..worker.load import LoadLimits
from ..worker.portion import Portion
from ..worker.tasks.live import LiveCheckTask, MendTask, run_live_check, run_mend
from .access import Access, grants_for, reached
from .backup_set import BackupSet
from .dispatch.engine import Engine
from .history import MailboxVersion

TaskT = TypeVar("TaskT", bound=LiveCheckTask)

_MOST_MAILBOXES = 500
_MOST_MESSAGES = 200_000


class PlannedCheck(Record, Generic[TaskT], kw_only=True):
    """A task for a worker, and what it is to look at."""

    task: TaskT
    messages: int
    size_bytes: int


class CheckedMailbox(Record, kw_only=True):
    """What was found of a mailbox, in its partition on a ``host``."""

    partition: str
    host: str
    found: MailboxFindings


class Whole(Record, kw_only=True):
    """What was found in a partition on one host, in numbers. ``damaged`` are messages."""

    partition: str
    host: str
    mailboxes: int = 0
    messages: int = 0
    damaged: int = 0
    damaged_mailboxes: int = 0
    gone: int = 0
    untold: int = 0
    new: int = 0
    unlooked: int = 0


class LiveState(Record, kw_only=True):
    """What a check has found: of each mailbox, and ``failed``, what could not be begun."""

    mailboxes: tuple[CheckedMailbox, ...] = ()
    failed: tuple[Skipped, ...] = ()

    @property
    def damaged(self) -> Iterator[tuple[CheckedMailbox, Finding]]:
        """All that is damaged."""
        for mailbox in self.mailboxes:
            for finding in mailbox.found.damaged:
                yield mailbox, finding

    @property
    def unlooked(self) -> tuple[Skipped, ...]:
        """All that could not be looked at."""
        return (*self.failed, *(skip for mailbox in self.mailboxes for skip in mailbox.found.unlooked))

    def total(self) -> Whole:
        """All of it in numbers."""
        total = Whole(partition="", host="", unlooked=len(self.failed))
        for mailbox in self.mailboxes:
            total = _added(total, mailbox.found)
        return total

    def by_partition(self) -> list[Whole]:
        """The numbers of each partition on each host."""
        found: dict[tuple[str, str], Whole] = {}
        for mailbox in self.mailboxes:
            key = mailbox.partition, mailbox.host
            known = found.get(key, Whole(partition=mailbox.partition, host=mailbox.host))
            found[key] = _added(known, mailbox.found)
        return [found[key] for key in sorted(found)]


def _added(total: Whole, found: MailboxFindings) -> Whole:
    return replace(
        total,
        mailboxes=total.mailboxes + 1,
        messages=total.messages + found.messages,
        damaged=total.damaged + sum(finding.messages for finding in found.damaged),
        damaged_mailboxes=total.damaged_mailboxes + bool(found.damaged),
        gone=total.gone + found.gone,
        untold=total.untold + found.untold,
        new=total.new + found.new,
        unlooked=total.unlooked + len(found.unlooked),
    )


def plan_check(
    backup: BackupSet,
    paths: Sequence[LogicalPath],
    stores: Mapping[str, Partition],
    *,
    data: bool,
    load: LoadLimits,
    access: Access | None = None,
    portion: Portion | None = None,
) -> list[PlannedCheck[LiveCheckTask]]:
    """The tasks that look through what the paths select, of each mailbox through a ``portion`` only if there
    is one; ``stores`` says for each partition of the backup where it lies. Raises NotFoundError for a path
    that the backup does not hold, UsageError for a partition that lies nowhere."""
    parts: dict[str, list[tuple[MailboxVersion, Stored]]] = {}
    for version, stored in _chosen(backup, paths):
        wanted = replace(stored, portion=portion)
        if version.partition not in stores:
            raise UsageError(
                f"partition {version.partition!r} is not configured: say with --store where it lies"
            )
        parts.setdefault(version.partition, []).append((version, wanted))
    planned: list[PlannedCheck[LiveCheckTask]] = []
    for partition, chosen in parts.items():
        store = stores[partition]
        grants = grants_for(access, store)
        for part in _parts(sorted(chosen, key=lambda one: (one[0].archive, one[0].user))):
            archives = backup.needed({version.archive for version, _ in part})
            task = LiveCheckTask(
                archives=reached(
                    archives, access, [(version.partition, version.user) for version, _ in part]
                ),
                mailboxes=tuple(wanted for _, wanted in part),
                partition=store,
                label=f"{partition} {len(planned) + 1}",
                data=data,
                load=load,
                grants=grants,
            )
            planned.append(
                PlannedCheck(
                    task=task,
                    messages=sum(version.stored for version, _ in part),
                    size_bytes=sum(version.size_bytes for version, _ in part),
                )
            )
    return planned


def run_checks(
    planned: Sequence[PlannedCheck[LiveCheckTask]], engine: Engine, on_progress: ProgressSink
) -> LiveState:
    """Carry tasks out. Of one that fails it is told that its mailboxes were not looked at; the others go
    on."""
    mailboxes: list[CheckedMailbox] = []
    failed: list[Skipped] = []
    for outcome in engine(run_live_check, [check.task for check in planned], on_progress):
        task = outcome.task
        if outcome.report is None:
            error = outcome.failure()
            failed += [Skipped(str(mailbox.path), error.code, error.message) for mailbox in task.mailboxes]
            continue
        host = outcome.report.host or task.partition.hosts[0]
        for findings, wanted in zip(outcome.report.mailboxes, task.mailboxes, strict=True):
            mailboxes.append(CheckedMailbox(partition=wanted.path.partition or "", host=host, found=findings))
    mailboxes.sort(key=lambda checked_mailbox: (checked_mailbox.partition, checked_mailbox.found.path))
    return LiveState(mailboxes=tuple(mailboxes), failed=tuple(failed))


def plan_mending(
    checks: Sequence[PlannedCheck[LiveCheckTask]], only: Sequence[Identity] | None
) -> list[PlannedCheck[MendTask]]:
    """The tasks that mend what these checks find; of what was found before ``only`` that, if it is given."""
    wanted = None if only is None else frozenset(only)
    return [
        PlannedCheck(
            task=MendTask(
                **{name: getattr(planned.task, name) for name in field_names(planned.task)}, only=wanted
            ),
            messages=planned.messages,
            size_bytes=planned.size_bytes,
        )
        for planned in checks
    ]


def run_mending(
    planned: Sequence[PlannedCheck[MendTask]], engine: Engine, on_progress: ProgressSink
) -> RestoreReport:
    """Carry tasks out. A task that fails is told as skipped mailboxes; the others go on."""
    total = RestoreReport()
    for outcome in engine(run_mend, [check.task for check in planned], on_progress):
        report = outcome.report
        if report is None:
            error = outcome.failure()
            report = RestoreReport(
                skipped=tuple(
                    Skipped(str(mailbox.path), error.code, error.message)
                    for mailbox in outcome.task.mailboxes
                )
            )
        total += report
    return total


def _chosen(backup: BackupSet, paths: Sequence[LogicalPath]) -> Iterator[tuple[MailboxVersion, Stored]]:
    """What the paths select, nothing twice."""
    kept = [
        logical_path
        for logical_path in paths
        if not any(other != logical_path and other.covers(logical_path) for other in paths)
    ]
    for path in dict.fromkeys(kept):
        for version in backup.select(path):
            whose = LogicalPath(version.partition, version.group, version.user)
            selected = replace(path, partition=whose.partition, group=whose.group, user=whose.user)
            yield version, Stored(archive=version.archive, user=version.user, path=selected)


def _parts(
    chosen: Sequence[tuple[MailboxVersion, Stored]],
) -> Iterator[list[tuple[MailboxVersion, Stored]]]:
    part: list[tuple[MailboxVersion, Stored]] = []
    messages = 0
    for one in chosen:
        if part and (len(part) >= _MOST_MAILBOXES or messages >= _MOST_MESSAGES):
            yield part
            part, messages = [], 0
        part.append(one)
        messages += one[0].stored
    if part:
        yield part
