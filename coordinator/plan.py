"""From an inventory to the units of a run. Pure: everything is handed in, a record comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from ..groups.assignment import assign
from ..groups.paths import EVERYBODY, LogicalPath
from ..groups.sharding import shard, weight
from ..proto.errors import NotFoundError
from ..proto.records import RunId, Skipped, Unit
from ..proto.structs import Record
from .alarms import Alarm
from .inventory import Inventory
from .settings import ExcludeConfig, GroupsConfig

NO_GROUP = "no-group"
"""The reason of a user whom the groups leave out."""

Members = dict[tuple[str, str], dict[str, None]]
"""By partition and group, the users of it that are backed up."""


class Plan(Record, kw_only=True):
    """The units of a run, largest first; what the rules leave out of it; and what looks like a loss. ``over``
    are the groups (partition, group) of which the units have all that is to be backed up, also groups that
    are not any more. ``familiar``: something is stored of each mailbox."""

    units: tuple[Unit, ...]
    left_out: tuple[Skipped, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    over: frozenset[tuple[str, str]] = frozenset()
    familiar: bool = False


class Muster(Record, kw_only=True):
    """Who is backed up in which group, and who is left out: mailboxes, and groups that are off."""

    members: Members
    left_out: tuple[Skipped, ...]


def muster(
    paths: Sequence[LogicalPath],
    inventories: Sequence[Inventory],
    groups: GroupsConfig,
    exclude: ExcludeConfig,
    *,
    rest: bool = False,
) -> Muster:
    """Assign the users that the paths select to groups. A user who is excluded, or a group that is off, is
    taken where a path names it. With ``rest`` the group ``user``, where one names it, is what it is in a run
    over everything: the users in no other group.

    Raises UsageError for a group that there is not, NotFoundError for a partition or user that there is not,
    ConfigError as ``assign`` does.
    """
    _refuse_unknown(paths, inventories)
    named = {path.user for path in paths}
    members: Members = {}
    left_out: dict[Skipped, None] = {}
    for inventory in inventories:
        partition = inventory.partition.name
        for path in (path for path in paths if path.selects_partition(partition)):
            users = [user for user in inventory.sizes if path.selects_user(user)]
            excluded = dict.fromkeys(user for user in users if user not in named and exclude.leaves_out(user))
            of_rest = rest and path.group == EVERYBODY
            chosen = None if path.group is None or of_rest else {path.group}
            assignment = assign([user for user in users if user not in excluded], groups.rules, chosen)
            for group, held in assignment.groups.items():
                if of_rest and group != EVERYBODY:
                    continue
                if path.group is None and group in groups.off:
                    left_out.update(_off(partition, group, len(held)))
                else:
                    members.setdefault((partition, group), {}).update(dict.fromkeys(held))
            left_out.update(_skipped(partition, excluded, "excluded-user"))
            left_out.update(_skipped(partition, assignment.left_out, NO_GROUP))
    return Muster(members=members, left_out=tuple(left_out))


def make_units(
    run: RunId,
    members: Members,
    inventories: Sequence[Inventory],
    *,
    workers: int,
    largest_bytes: int,
    previous: Mapping[tuple[str, str], Mapping[str, int]],
) -> list[Unit]:
    """Split the groups into units, largest first, for ``workers`` workers on each host. ``previous`` gives,
    for a (partition, group), the shard that each user was in."""
    stocks = {inventory.partition.name: inventory for inventory in inventories}
    sizes = {
        scope: [stocks[scope[0]].sizes[user] for user in users] for scope, users in members.items() if users
    }
    totals: Counter[tuple[str, ...]] = Counter()
    for (partition, _), held in sizes.items():
        totals[stocks[partition].partition.hosts] += sum(size.size_bytes for size in held)
    units: list[Unit] = []
    for (partition, group), held in sizes.items():
        hosts = stocks[partition].partition.hosts
        # Each group is split for its share of its hosts' workers only: more shards find fewer duplicates.
        size_bytes, total = sum(mailbox_size.size_bytes for mailbox_size in held), totals[hosts]
        share = round(workers * len(hosts) * size_bytes / total) if total else 1
        shards = shard(held, max(1, share), largest_bytes, previous.get((partition, group)))
        units += [_unit(run, stocks[partition], group, number, users) for number, users in enumerate(shards)]
    return sorted(units, key=_order)


def _order(unit: Unit) -> tuple[int, str, str, int]:
    """The unit that takes longest goes first."""
    return -weight(unit.size_bytes, unit.messages), unit.partition.name, unit.group, unit.shard


def _refuse_unknown(paths: Sequence[LogicalPath], inventories: Sequence[Inventory]) -> None:
    for path in paths:
        selected = [
            inventory for inventory in inventories if path.selects_partition(inventory.partition.name)
        ]
        if not selected:
            names = ", ".join(one.partition.name for one in inventories)
            raise NotFoundError(f"there is no partition {path.partition!r}; there are: {names}")
        if path.user is not None and not any(path.user in one.sizes for one in selected):
            near = next((near for one in selected if (near := one.hints.get(path.user, ""))), "")
            raise NotFoundError(f"{path}: the mail store has no such mailbox{near}", path=str(path))


def _skipped(partition: str, users: Collection[str], reason: str) -> dict[Skipped, None]:
    paths = (str(LogicalPath(partition, EVERYBODY, user)) for user in users)
    return {Skipped(path, reason): None for path in paths}


def _off(partition: str, group: str, users: int) -> Iterator[tuple[Skipped, None]]:
    if users:
        told = "1 mailbox" if users == 1 else f"{users:,} mailboxes"
        yield Skipped(str(LogicalPath(partition, group)), "group-off", told), None


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
