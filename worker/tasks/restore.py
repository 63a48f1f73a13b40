"""What a restore dispatches, as ``tasks`` does for a backup."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from ...groups.renames import Renamed
from ...proto.ports import ProgressSink
from ...proto.records import Partition, Progress, RestoreTaskReport, Skipped
from ...proto.structs import Record, field, replace
from .. import memory
from ..archives.holdings import Holdings
from ..archives.opened import opened_archives
from ..before import Before, kept_or_told, not_kept
from ..choice import Choice
from ..demand import demand_of
from ..live.exact import InUse, restore_exactly
from ..live.state import Live, restore_state
from ..load import LoadLimits, bounded, bounded_target, gentle
from ..restore import restore
from ..stores import registry
from ..stores.renamed_users import RenamedUsersTarget


class RestoreTask(Record, kw_only=True):
    """Restore parts of mailboxes. ``archives`` are all that may be needed for it, ``target`` where it goes;
    ``label`` is how the task is called in its progress, ``renamed`` who is called differently there.
    The restore that it is a part of had been under way for ``under_way_seconds`` when it was sent.

    Hosts other than that of the staging area read its archives by their ``grants``. On that one the file
    ``witness`` is locked while a worker is at the task, whether the one who sent it lives or not. How its
    mailboxes are ``before`` is kept first; None where it is kept already, or can't be. Of users whose
    mailboxes are ``unkept`` the report tells, and why.
    """

    archives: Holdings
    choices: tuple[Choice, ...]
    target: Partition
    label: str
    renamed: Renamed = field(default_factory=Renamed)
    load: LoadLimits = field(default_factory=LoadLimits)
    under_way_seconds: float = 0.0
    grants: Mapping[str, bytes] = field(default_factory=dict)
    host: str = ""
    witness: str = ""
    before: Before | None = None
    unkept: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.target.hosts

    def attempted(self, host: str, attempt: int) -> RestoreTask:
        """See Task."""
        grants = {host: self.grants[host]} if host in self.grants else {}
        return replace(self, host=host, grants=grants, attempt=attempt)


def run_restore(task: RestoreTask, progress: ProgressSink) -> RestoreTaskReport:
    """See ``worker.restore.restore``, and ``worker.live.state`` for choices of state."""
    memory.keep_freed_memory()

    def told(one: Progress) -> None:
        # Of one file for all nothing is durable before its end.
        done = () if registry.is_one_file(task.target) else one.done
        progress(one._replace(unit=task.label, done=done))

    with ExitStack() as stack:
        stack.enter_context(witnessed(task.witness))
        stack.enter_context(gentle(task.load))
        lost = dict(task.unkept)
        if task.before is not None:
            lost.update(kept_or_told(task.before, task.attempt, task.load))
        target = registry.open_target(task.target)
        stack.callback(target.abandon)
        target = bounded_target(target, task.load, task.host, task.under_way_seconds)
        if any(task.renamed):
            target = RenamedUsersTarget(target, task.renamed)
        grant = task.grants.get(task.host, b"")
        archives = stack.enter_context(opened_archives(task.archives, task.host, grant))
        if any(choice.state for choice in task.choices):
            live = Live(
                store=bounded(registry.open_store(task.target), task.load, task.host),
                keeper=registry.open_state_keeper(task.target),
                target=target,
            )
            report = restore_state(archives, task.choices, live, told)
        elif any(one.exactly for one in task.choices):
            in_use = InUse(
                store=registry.open_removal(task.target, {one.to_user: one.place for one in task.choices}),
                keeper=registry.open_state_keeper(task.target),
                target=target,
            )
            report = restore_exactly(archives, task.choices, in_use, told)
        else:
            announces = any(one.announcement for one in task.choices)
            announcer = registry.open_announcer(task.target) if announces else None
            demand = demand_of(archives, task.choices)
            report = restore(archives, task.choices, target, told, demand, announcer)
        rest = replace(
            report.rest,
            replaced=frozenset(archives.damaged),
            skipped=(*_not_kept(task.choices, lost, report), *report.rest.skipped),
        )
        return replace(report, rest=rest)


def _not_kept(
    choices: Sequence[Choice], lost: Mapping[str, str], report: RestoreTaskReport
) -> Iterator[Skipped]:
    """What is told of mailboxes that were restored, and could not be kept as they were."""
    done = {(mailbox.archive, mailbox.path, mailbox.reach) for mailbox in report.mailboxes}
    for choice in choices:
        if choice.to_user in lost and choice.key in done:
            yield not_kept(str(choice.path), lost[choice.to_user])


@contextmanager
def witnessed(path: str) -> Iterator[None]:
    """Hold a shared lock of a file, where that is there, as long as the context lasts."""
    with ExitStack() as stack:
        with suppress(OSError):
            if path:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_SH)
        yield


class EndTask(Record, kw_only=True):
    """A restore has ended in a target: what its tasks had in common there goes."""

    target: Partition

    @property
    def label(self) -> str:
        """See Task."""
        return f"{self.target.name} end"

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.target.hosts

    def attempted(self, _host: str, _attempt: int) -> EndTask:
        """See Task."""
        return self


def run_end(task: EndTask, _progress: ProgressSink) -> None:
    """See ``registry.end_restore``. Raises StoreError."""
    registry.end_restore(task.target)
