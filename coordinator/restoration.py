"""The table of contents of a restore: choose versions, plan tasks, dispatch, add up.

Restores need no lock: they read sealed archives and write to a mail store, never to the staging area.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..groups.paths import LogicalPath
from ..proto.errors import NotFoundError, UsageError
from ..proto.ports import ProgressSink
from ..proto.records import ArchiveId, Partition, RestoreReport, Skipped
from ..worker.restore import Choice
from ..worker.tasks import OpenArchives, RestoreTask, run_restore
from .backup_set import BackupSet, opened, read_mailbox
from .dispatch.engine import Engine
from .history import MailboxVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What will be restored: tasks for the workers, and what they hold in all."""

    tasks: tuple[RestoreTask, ...]
    mailboxes: int
    messages: int
    size_bytes: int


def plan_restore(
    backup: BackupSet,
    paths: Sequence[LogicalPath],
    targets: Mapping[str, Partition],
    *,
    as_user: str | None,
    workers: int,
) -> RestorePlan:
    """Choose the mailboxes and split them into tasks.

    ``targets`` says for each partition of the backup where it goes; ``as_user`` names the one whose
    mailbox the chosen one becomes. Raises NotFoundError for a path that the backup does not hold,
    UsageError for a target that is missing and for several mailboxes that would become one.
    """
    with opened(backup) as archives:
        chosen = [
            (version, _choice(archives, version, path, as_user))
            for path in paths
            for version in backup.select(path)
        ]
    _refuse_collisions(chosen, targets)
    tasks: list[RestoreTask] = []
    for (partition, archive), group in _grouped(chosen).items():
        if partition not in targets:
            raise UsageError(f"no target for partition {partition!r}: say where to with --to FORMAT:DIR")
        total = sum(version.size_bytes for version, _ in group)
        tasks += [
            RestoreTask(archive=archive, archives=backup.places, choices=part, target=targets[partition])
            for part in _parts(group, max(1, total // (2 * workers)))
        ]
    whole = [version for version, _ in chosen]
    return RestorePlan(
        tasks=tuple(tasks),
        mailboxes=len({(one.partition, one.user) for one in whole}),
        messages=sum(one.stored for one in whole),
        size_bytes=sum(one.size_bytes for one in whole),
    )


def run_plan(plan: RestorePlan, engine: Engine, on_progress: ProgressSink) -> RestoreReport:
    """Carry a plan out. A task that fails is told as skipped mailboxes; the others go on."""
    total = RestoreReport()
    for outcome in engine(run_restore, plan.tasks, on_progress):
        if outcome.report is not None:
            report = outcome.report
        else:
            error = outcome.failure()
            report = RestoreReport(
                skipped=tuple(
                    Skipped(str(one.path), error.code, error.message) for one in outcome.task.choices
                )
            )
        total = replace(
            total,
            restored=total.restored + report.restored,
            present=total.present + report.present,
            files=total.files + report.files,
            size_bytes=total.size_bytes + report.size_bytes,
            skipped=(*total.skipped, *report.skipped),
            damaged=(*total.damaged, *report.damaged),
        )
    return total


def _choice(
    archives: OpenArchives, version: MailboxVersion, path: LogicalPath, as_user: str | None
) -> Choice:
    whose = LogicalPath(version.partition, version.group, version.user)
    place = b""
    if as_user is None or path.folder is not None:
        _, mailbox = read_mailbox(archives, version)
        place = mailbox.place if as_user is None else b""
        if path.folder is not None:
            _require(path, [one.folder.name for one in mailbox.folders])
    selected = replace(path, partition=whose.partition, group=whose.group, user=whose.user)
    return Choice(user=version.user, to_user=as_user or version.user, place=place, path=selected)


def _require(path: LogicalPath, folders: Sequence[str]) -> None:
    resolved = path.resolve(folders)
    if not any(resolved.selects_folder(name) for name in folders):
        raise NotFoundError(
            f"{path}: the mailbox has no such folder; it has: {', '.join(sorted(folders))}", path=str(path)
        )


def _refuse_collisions(
    chosen: Sequence[tuple[MailboxVersion, Choice]], targets: Mapping[str, Partition]
) -> None:
    seen: dict[tuple[object, str, bytes], tuple[str, str]] = {}
    for version, choice in chosen:
        where = (targets.get(version.partition), choice.to_user, choice.place)
        whose = (version.partition, version.user)
        if seen.setdefault(where, whose) != whose:
            raise UsageError(
                f"two mailboxes would become that of {choice.to_user!r}: "
                f"{'/'.join(seen[where])} and {'/'.join(whose)}; restore them one at a time"
            )


def _grouped(
    chosen: Sequence[tuple[MailboxVersion, Choice]],
) -> dict[tuple[str, ArchiveId], list[tuple[MailboxVersion, Choice]]]:
    grouped: dict[tuple[str, ArchiveId], list[tuple[MailboxVersion, Choice]]] = {}
    for version, choice in chosen:
        grouped.setdefault((version.partition, version.archive), []).append((version, choice))
    return grouped


def _parts(group: Sequence[tuple[MailboxVersion, Choice]], part_bytes: int) -> Iterator[tuple[Choice, ...]]:
    """Neighbours in the archive stay together: their blocks are read once."""
    part: list[Choice] = []
    size = 0
    for version, choice in group:
        part.append(choice)
        size += version.size_bytes
        if size >= part_bytes:
            yield tuple(part)
            part, size = [], 0
    if part:
        yield tuple(part)
