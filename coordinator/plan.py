"""From an inventory to the units of a run. Pure: everything is handed in, a record comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..groups.assignment import Assignment, GroupRules, assign
from ..groups.paths import EVERYBODY, LogicalPath
from ..groups.sharding import shard, weight
from ..proto.errors import NotFoundError
from ..proto.records import MailboxSize, RunId, Skipped, Unit
from .inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The units of a run, largest first, and the mailboxes that the rules leave out of it."""

    units: tuple[Unit, ...]
    left_out: tuple[Skipped, ...] = ()


def plan_run(
    run: RunId,
    paths: Sequence[LogicalPath],
    inventories: Sequence[Inventory],
    rules: GroupRules,
    *,
    workers: int,
    largest_bytes: int,
    previous: Mapping[tuple[str, str], Mapping[str, int]],
) -> Plan:
    """Split what the paths select into units, for ``workers`` workers on each host.

    ``previous`` gives, for a (partition, group), the shard that each user was in. Raises UsageError for a
    group that there is not, NotFoundError for a partition or user that there is not, ConfigError as
    ``assign`` does.
    """
    _refuse_unknown(paths, inventories)
    left_out: list[Skipped] = []
    groups: dict[tuple[str, str], tuple[Inventory, set[str]]] = {}
    for inventory in inventories:
        for path in (path for path in paths if path.selects_partition(inventory.partition.name)):
            users = [user for user in inventory.sizes if path.selects_user(user)]
            assignment = assign(users, rules, None if path.group is None else {path.group})
            for group, held in assignment.groups.items():
                groups.setdefault((inventory.partition.name, group), (inventory, set()))[1].update(held)
            left_out += _left_out(inventory, assignment)
    totals: Counter[tuple[str, ...]] = Counter()
    for inventory, members in groups.values():
        size_bytes = sum(one.size_bytes for one in _sizes(inventory, members))
        totals[inventory.partition.hosts] += size_bytes
    units: list[Unit] = []
    for (partition, group), (inventory, members) in groups.items():
        sizes = _sizes(inventory, members)
        hosts = inventory.partition.hosts
        # Each group is split for its share of its hosts' workers only: more shards find fewer duplicates.
        size_bytes, total = sum(one.size_bytes for one in sizes), totals[hosts]
        share = round(workers * len(hosts) * size_bytes / total) if total else 1
        shards = shard(sizes, max(1, share), largest_bytes, previous.get((partition, group)))
        units += [_unit(run, inventory, group, number, users) for number, users in enumerate(shards)]
    units.sort(key=_order)
    return Plan(units=tuple(units), left_out=tuple(left_out))


def _order(unit: Unit) -> tuple[int, str, str, int]:
    """The unit that takes longest goes first."""
    return -weight(unit.size_bytes, unit.messages), unit.partition.name, unit.group, unit.shard


def _refuse_unknown(paths: Sequence[LogicalPath], inventories: Sequence[Inventory]) -> None:
    for path in paths:
        selected = [one for one in inventories if path.selects_partition(one.partition.name)]
        if not selected:
            names = ", ".join(one.partition.name for one in inventories)
            raise NotFoundError(f"there is no partition {path.partition!r}; there are: {names}")
        if path.user is not None and not any(path.user in one.sizes for one in selected):
            raise NotFoundError(f"{path}: the mail store has no such mailbox", path=str(path))


def _left_out(inventory: Inventory, assignment: Assignment) -> list[Skipped]:
    return [
        Skipped(str(LogicalPath(inventory.partition.name, EVERYBODY, user)), "no-group")
        for user in assignment.left_out
    ]


def _sizes(inventory: Inventory, users: set[str]) -> list[MailboxSize]:
    return [size for user, size in inventory.sizes.items() if user in users]


def _unit(run: RunId, inventory: Inventory, group: str, number: int, users: tuple[str, ...]) -> Unit:
    return Unit(
        run=run,
        partition=inventory.partition,
        group=group,
        shard=number,
        users=users,
        size_bytes=sum(inventory.sizes[user].size_bytes for user in users),
        messages=sum(inventory.sizes[user].messages for user in users),
    )
