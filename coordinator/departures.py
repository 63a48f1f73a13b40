"""Which mailboxes are gone as of a run: known to the catalog, and not to be stored any more. Pure.

A mailbox departs from a group of a partition when the store does not list it any more, or when it is backed
up in another group now: by this run, or it was before. Else it would be in none. One that is merely left out
(excluded, in no group, in a group that is off) stays as it was stored last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ..groups.assignment import GroupRules, assign
from ..groups.paths import LogicalPath
from ..proto.records import Departed, RunId, Unit
from ..proto.structs import replace
from .history import MailboxVersion
from .inventory import Inventory

Known = Mapping[tuple[str, str], Mapping[str, MailboxVersion]]
"""By partition and group, the mailboxes as they were stored last."""

GONE = "removed"
"""The reason of a mailbox that the store does not list any more."""

Carried = Mapping[tuple[str, str], Mapping[int, tuple[Departed, ...]]]
"""By partition and group, then by shard, what earlier archives told."""

Departures = dict[tuple[str, str], tuple[Departed, ...]]
"""By partition and group."""


def find_departures(
    paths: Sequence[LogicalPath],
    inventories: Sequence[Inventory],
    known: Known,
    taken: Mapping[tuple[str, str], Collection[str]],
    rules: GroupRules,
    *,
    off: Collection[str],
    excluded: Callable[[str], bool],
) -> Departures:
    """The mailboxes that are gone from the groups which these paths select as a whole.

    ``taken`` are the users of each group as the run backs them up, ``off`` the groups that it passes over;
    ``excluded`` tells which users it leaves out.
    """
    # Who is in several groups is not the question here.
    rules = replace(rules, several="report") if rules.several == "error" else rules
    listed = {inventory.partition.name: inventory.sizes.keys() for inventory in inventories}
    found: Departures = {}
    for scope in covered(paths, listed, known, off):
        partition, group = scope
        missing = sorted(known[scope].keys() - taken.get(scope, ()))
        there = [user for user in missing if user in listed[partition] and not excluded(user)]
        groups = _groups_now(there, rules, off)
        gone = [
            *(_elsewhere(user, partition, listed) for user in missing if user not in listed[partition]),
            *(
                _left(user, groups[user])
                for user in there
                if any(
                    user in taken.get((partition, one), ()) or user in known.get((partition, one), ())
                    for one in groups[user] - {group}
                )
            ),
        ]
        if gone:
            found[scope] = tuple(sorted(gone, key=lambda one: one.user))
    return found


def covered(
    paths: Sequence[LogicalPath],
    partitions: Collection[str],
    known: Known,
    off: Collection[str],
) -> Iterator[tuple[str, str]]:
    """The known groups in these partitions that the paths select as a whole. A path to a whole partition also
    covers groups that are not configured any more."""
    for partition, group in known:
        if partition in partitions and any(
            path.user is None
            and path.selects_partition(partition)
            and (group not in off if path.group is None else path.group == group)
            for path in paths
        ):
            yield partition, group


def with_departures(
    run: RunId,
    units: Sequence[Unit],
    departures: Departures,
    known: Known,
    inventories: Sequence[Inventory],
) -> tuple[Unit, ...]:
    """The units, where each departure is told by the unit of the shard that it was in, else by the first of
    its group; or by one that backs up nothing, where the group has none."""
    partitions = {inventory.partition.name: inventory.partition for inventory in inventories}
    placed: dict[tuple[str, str, int], list[Departed]] = {}
    shards: dict[tuple[str, str], set[int]] = {}
    for unit in units:
        shards.setdefault((unit.partition.name, unit.group), set()).add(unit.shard)
    for scope, gone in departures.items():
        there = shards.get(scope, {0})
        for departed in gone:
            shard = known[scope][departed.user].shard
            placed.setdefault((*scope, shard if shard in there else min(there)), []).append(departed)
    told = []
    for unit in units:
        here = placed.pop((unit.partition.name, unit.group, unit.shard), [])
        told.append(replace(unit, departed=tuple(here)) if here else unit)
    return (
        *told,
        *(
            Unit(
                run=run,
                partition=partitions[partition],
                group=group,
                shard=shard,
                users=(),
                departed=tuple(here),
            )
            for (partition, group, shard), here in placed.items()
        ),
    )


def with_carried(units: Sequence[Unit], carried: Carried) -> tuple[Unit, ...]:
    """The units, each with the departures that its archive tells of once more: those of its shard, the first
    unit of a group those of shards that have none, and the first of a partition those of groups that have no
    unit any more. Of these only the mailboxes that left the partition: of the others their new group tells.
    """
    shards: dict[tuple[str, str], set[int]] = {}
    for unit in units:
        shards.setdefault((unit.partition.name, unit.group), set()).add(unit.shard)
    partitions = {unit.partition.name: unit.label for unit in reversed(units)}
    told = []
    for unit in units:
        scope = unit.partition.name, unit.group
        there, new = shards[scope], {departed.user for departed in unit.departed} | set(unit.users)
        mine = [
            one
            for shard, gone in carried.get(scope, {}).items()
            if shard == unit.shard or (shard not in there and unit.shard == min(there))
            for one in gone
            if one.user not in new
        ]
        if partitions.get(unit.partition.name) == unit.label:
            mine += _homeless(unit.partition.name, shards, carried)
            mine = list(dict.fromkeys(mine))
        told.append(replace(unit, carried=tuple(mine)) if mine else unit)
    return tuple(told)


def _homeless(
    partition: str, shards: Mapping[tuple[str, str], Collection[int]], carried: Carried
) -> Iterator[Departed]:
    for scope, by_shard in carried.items():
        if scope[0] == partition and scope not in shards:
            yield from (
                departed for gone in by_shard.values() for departed in gone if departed.from_partition
            )


def _groups_now(users: Sequence[str], rules: GroupRules, off: Collection[str]) -> dict[str, set[str]]:
    """In which groups a run over everything backs up each user."""
    groups: dict[str, set[str]] = {user: set() for user in users}
    for group, held in assign(users, rules).groups.items():
        for user in held:
            if group not in off:
                groups[user].add(group)
    return groups


def _elsewhere(user: str, partition: str, listed: Mapping[str, Collection[str]]) -> Departed:
    others = [name for name, users in listed.items() if name != partition and user in users]
    if others:
        return Departed(user, "moved", f"now in partition {', '.join(others)}")
    return Departed(user, GONE)


def _left(user: str, groups: Collection[str]) -> Departed:
    names = sorted(groups)
    return Departed(user, "left-group", f"now in group{'s' * (len(names) > 1)} {', '.join(names)}")
