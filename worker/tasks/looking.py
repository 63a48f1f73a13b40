"""What a plan dispatches to look at the target of a restore, as ``tasks`` does for a backup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...proto.ports import ProgressSink
from ...proto.records import Partition
from ...proto.structs import Record, field, replace
from ...proto.target_facts import TargetFacts
from .. import memory
from ..archives.holdings import Holdings
from ..archives.opened import OpenArchives, opened_archives
from ..looking.sought import Sought

Look = Callable[[OpenArchives, Sequence[Sought], Partition, str, float], TargetFacts]
"""Looks at a target on a host, for so many seconds."""


class LookTask(Record, kw_only=True):
    """Look at what mailboxes would meet in a target, for so many ``seconds`` at most. ``archives`` are those
    that their metadata may lie in; see ``RestoreTask``."""

    archives: Holdings
    sought: tuple[Sought, ...]
    target: Partition
    label: str
    seconds: float
    grants: Mapping[str, bytes] = field(default_factory=dict)
    host: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.target.hosts

    def attempted(self, host: str, _attempt: int) -> LookTask:
        """See Task."""
        grants = {host: self.grants[host]} if host in self.grants else {}
        return replace(self, host=host, grants=grants)


def run_look(task: LookTask, _progress: ProgressSink) -> TargetFacts:
    """Look at the target as its format wants it; see ``worker.looking``."""
    memory.keep_freed_memory()
    look = _look_of(task.target)
    with opened_archives(task.archives, task.host, task.grants.get(task.host, b"")) as archives:
        return look(archives, task.sought, task.target, task.host or "localhost", task.seconds)


def _look_of(target: Partition) -> Look:
    # Each is loaded when it is wanted.
    if target.format == "imap":
        from ..looking.server import look_at_server

        return look_at_server
    if target.format == "maildir":
        from ..looking.look import look

        return look
    from ..looking.files import look_at_files

    return look_at_files
