"""What is dispatched to take a restore back."""

from __future__ import annotations

from collections.abc import Mapping

from ...groups.renames import Renamed
from ...proto.ports import ProgressSink
from ...proto.records import Partition, RestoreTaskReport
from ...proto.structs import Record, field, replace
from .. import memory
from ..archives.holdings import Holdings
from ..archives.opened import opened_archives
from ..live.exact import InUse
from ..stores import registry
from ..undo import Undone, undo


class UndoTask(Record, kw_only=True):
    """Take back what was restored of mailboxes of ``target``. ``archives`` are all that tell of it;
    ``dry_run``: only find out what would go. ``label`` is how the task is called in its progress, ``renamed``
    who was called differently by the restore. ``grants``: see RestoreTask."""

    archives: Holdings
    undone: tuple[Undone, ...]
    target: Partition
    label: str
    renamed: Renamed = field(default_factory=Renamed)
    dry_run: bool = False
    grants: Mapping[str, bytes] = field(default_factory=dict)
    host: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.target.hosts

    def attempted(self, host: str, attempt: int) -> UndoTask:
        """See Task."""
        del attempt
        grants = {host: self.grants[host]} if host in self.grants else {}
        return replace(self, host=host, grants=grants)


def run_undo(task: UndoTask, progress: ProgressSink) -> RestoreTaskReport:
    """See ``worker.undo.undo``."""
    memory.keep_freed_memory()
    places = {undone.choice.to_user: undone.choice.place for undone in task.undone}
    grant = task.grants.get(task.host, b"")
    with opened_archives(task.archives, task.host, grant) as archives:
        live = InUse(
            store=registry.open_removal(task.target, places),
            keeper=registry.open_state_keeper(task.target),
            target=registry.open_target(task.target),
        )
        report = undo(
            archives,
            task.undone,
            live,
            lambda told: progress(told._replace(unit=task.label)),
            dry_run=task.dry_run,
            renamed=task.renamed,
        )
        return replace(report, rest=replace(report.rest, replaced=frozenset(archives.damaged)))
