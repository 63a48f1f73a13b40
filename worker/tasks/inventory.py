"""The task of looking at a partition, as engines dispatch it; see ``tasks``."""

from __future__ import annotations

from ...groups.paths import LogicalPath
from ...proto.ports import ProgressSink
from ...proto.records import Partition
from ...proto.structs import Record
from ..inventory import Stock, take_stock
from ..stores import registry


class InventoryTask(Record, kw_only=True):
    """List the users of a partition that the paths select (of ``only``, if given); measure those that are
    not ``known``."""

    partition: Partition
    paths: tuple[LogicalPath, ...]
    known: frozenset[str]
    only: frozenset[str] | None = None

    @property
    def label(self) -> str:
        """See Task."""
        return self.partition.name

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.partition.hosts

    def attempted(self, _host: str, _attempt: int) -> InventoryTask:
        """See Task."""
        return self


def run_inventory(task: InventoryTask, _progress: ProgressSink) -> Stock:
    """See ``worker.inventory.take_stock``."""
    return take_stock(registry.open_store(task.partition), task.paths, task.known, task.only)
