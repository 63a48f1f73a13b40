"""What there is to back up: the users of each partition and how big their mailboxes are.

The partitions are looked at where they lie, by tasks that the engine dispatches (``worker.inventory``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..groups.paths import LogicalPath
from ..proto.errors import BackupError, EmptyStoreError, NotFoundError
from ..proto.records import MailboxSize, Partition, Progress, Skipped
from ..proto.structs import Record, field
from ..worker.inventory import Stock
from ..worker.tasks.inventory import InventoryTask, run_inventory
from .dispatch.engine import Engine


class Inventory(Record, kw_only=True):
    """A partition and its mailboxes, by user. ``left_out`` is what looks like mail in it and is not taken,
    ``hints`` what may have been meant by users that were named and are not there."""

    partition: Partition
    sizes: Mapping[str, MailboxSize]
    left_out: tuple[Skipped, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)


class Failure(Record, kw_only=True):
    """A unit or partition that failed, by its label, and why."""

    what: str
    error: BackupError


def take_inventories(
    partitions: Sequence[Partition],
    paths: Sequence[LogicalPath],
    known: Mapping[str, Mapping[str, MailboxSize]],
    engine: Engine,
    *,
    accept_empty: bool = False,
    only: frozenset[str] | None = None,
) -> tuple[list[Inventory], list[Failure]]:
    """What the paths select in each partition, and the partitions that can't be listed.

    ``known`` gives sizes by partition and user; the others are measured. A partition that lists nobody though
    users of it are known is a failure (EmptyStoreError), unless that is to be accepted. ``only`` these users
    are looked for, if it is given. Raises NotFoundError for a path to a folder that there is not.
    """
    tasks = [
        InventoryTask(
            partition=partition,
            paths=tuple(path for path in paths if path.selects_partition(partition.name)),
            known=frozenset(known.get(partition.name, ())),
            only=only,
        )
        for partition in partitions
        if any(path.selects_partition(partition.name) for path in paths)
    ]
    found: dict[str, Inventory] = {}
    failures: dict[str, Failure] = {}
    for outcome in engine(run_inventory, tasks, _ignore):
        partition = outcome.task.partition
        error: BackupError | None = None
        if outcome.report is None:
            error = outcome.failure()
        elif not outcome.report.listed and not accept_empty:
            error = _empty(partition, len(known.get(partition.name, ())))
        if error is not None:
            failures[partition.name] = Failure(what=partition.name, error=error)
        elif outcome.report is not None:
            for path in outcome.report.missing:
                raise NotFoundError(f"{path}: the mail store has no such folder", path=str(path))
            found[partition.name] = _inventory(partition, outcome.report, known.get(partition.name, {}))
    names = [task.partition.name for task in tasks]  # in the order of the configuration
    return (
        [found[name] for name in names if name in found],
        [failures[name] for name in names if name in failures],
    )


def _inventory(partition: Partition, stock: Stock, known: Mapping[str, MailboxSize]) -> Inventory:
    measured = {size.user: size for size in stock.measured}
    sizes = {user: measured[user] if user in measured else known[user] for user in stock.users}
    where = str(LogicalPath(partition.name))
    left_out = tuple(Skipped(where, skip.reason, f"{skip.path}: {skip.detail}") for skip in stock.left_out)
    return Inventory(partition=partition, sizes=sizes, left_out=left_out, hints=dict(stock.hints))


def _empty(partition: Partition, missing: int) -> EmptyStoreError | None:
    """A file system that is not mounted must not look like a thousand deletions."""
    if not missing:
        return None
    return EmptyStoreError(
        f"partition {partition.name!r} lists no mailbox, and {missing} are known there: is {partition.path} "
        "mounted? (--accept-empty believes it)",
        partition=partition.name,
        missing=missing,
    )


def _ignore(_: Progress) -> None:
    """Inventories report no progress."""
