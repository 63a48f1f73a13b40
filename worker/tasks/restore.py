"""What a restore dispatches, as ``tasks`` does for a backup."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ...proto.archive.files import RandomAccess
from ...proto.errors import DamagedError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Partition, RestoreReport
from .. import memory
from ..archives.opened import ArchivePlace, open_place, opened_archives
from ..restore import Choice, restore
from ..staging.area import StagingArea, open_file
from ..stores import registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTask:
    """Restore parts of mailboxes. ``archives`` are all that may be needed for it, ``target`` where it goes;
    ``label`` is how the task is called in its progress.

    Hosts other than that of the ``staging`` area read its archives by their ``grants``.
    """

    archives: Mapping[ArchiveId, ArchivePlace]
    choices: tuple[Choice, ...]
    target: Partition
    label: str
    staging: StagingArea | None = None
    grants: Mapping[str, bytes] = field(default_factory=dict)
    host: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.target.hosts

    def attempted(self, host: str, _attempt: int) -> RestoreTask:
        """See Task."""
        grants = {host: self.grants[host]} if host in self.grants else {}
        return replace(self, host=host, grants=grants)


def run_restore(task: RestoreTask, progress: ProgressSink) -> RestoreReport:
    """See ``worker.restore.restore``."""
    memory.keep_freed_memory()
    target = registry.open_target(task.target)
    with opened_archives(task.archives, _opener(task)) as archives:
        return restore(
            archives,
            task.choices,
            target,
            lambda told: progress(told._replace(unit=task.label)),
        )


def _opener(task: RestoreTask) -> Callable[[ArchivePlace], RandomAccess]:
    """How the host of a task reads archives: as files, or from the staging host."""
    area = task.staging
    if area is None or task.host in ("", area.host):
        return open_place

    def open_remote(place: ArchivePlace) -> RandomAccess:
        name = os.path.relpath(place.file, area.path)
        file = open_file(area, name, task.host, task.grants.get(task.host, b""))
        if file is None:
            raise DamagedError(f"{place.file}: No such file", reason="missing")
        return file

    return open_remote
