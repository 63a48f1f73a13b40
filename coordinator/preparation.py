"""What comes before the work of a run: look at the partitions, and plan."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterator, Sequence

from ..groups.paths import LogicalPath
from ..proto.errors import NotFoundError
from ..proto.records import ARCHIVE_ID_BYTES, ArchiveId, MailboxSize, RunId, Skipped
from ..proto.structs import replace
from .alarms import Alarm, alarm_of_partition
from .catalog import Catalog
from .departures import (
    GONE,
    Carried,
    Departures,
    Known,
    covered,
    find_departures,
    with_carried,
    with_departures,
)
from .dispatch.engine import Engine
from .history import MailboxVersion
from .inventory import Failure, Inventory, take_inventories
from .plan import Muster, Plan, make_units, muster
from .request import Request
from .settings import Config


def make_plan(
    config: Config,
    run: RunId,
    request: Request,
    catalog: Catalog | None,
    engine: Engine,
    *,
    workers: int,
) -> tuple[Plan, list[Failure]]:
    """The units of a run for so many workers on each host, and the partitions that can't be listed.

    With a list of users only these are backed up; those that are found nowhere are left out, and told; then
    nobody is taken to be gone. Raises UsageError or NotFoundError for paths that select nothing.
    """
    known = _known_versions(config, request.paths, catalog)
    inventories, failures = take_inventories(
        config.partitions,
        request.paths,
        _known_sizes(known),
        engine,
        accept_empty=request.accept_empty,
        only=request.users.users if request.users else None,
    )
    if failures and not inventories:
        return Plan(units=()), failures
    taken = muster(request.paths, inventories, config.groups, config.exclude, rest=request.rest)
    units = make_units(
        run,
        taken.members,
        inventories,
        workers=workers,
        largest_bytes=config.groups.largest_unit_bytes,
        previous={
            scope: {user: version.shard for user, version in versions.items()}
            for scope, versions in known.items()
        },
    )
    carried: Carried = {}
    if catalog is not None:
        carried = {(partition, group): catalog.carried(partition, group) for partition, group in known}
    departures: Departures = {}
    if request.users is None:
        departures = _departures(config, request.paths, inventories, known, taken)
    planned = with_carried(with_departures(run, units, departures, known, inventories), carried)
    plan = Plan(
        units=tuple(replace(unit, archive=ArchiveId(os.urandom(ARCHIVE_ID_BYTES))) for unit in planned),
        left_out=(
            *taken.left_out,
            *(skipped for inventory in inventories for skipped in inventory.left_out),
            *_not_found(request, inventories),
        ),
        alarms=_alarms(config, request.paths, inventories, known, departures),
        over=frozenset() if request.users else frozenset(_over(request.paths, inventories, known)),
        familiar=all(
            user in known.get((unit.partition.name, unit.group), ())
            for unit in planned
            for user in unit.users
        ),
    )
    if not (plan.units or plan.left_out or failures):
        searched = ", ".join(one.partition.path for one in inventories)
        paths = " ".join(map(str, request.paths))
        raise NotFoundError(f"{paths}: there is no mailbox to back up in {searched}")
    return plan, failures


def _known_versions(
    config: Config, paths: Sequence[LogicalPath], catalog: Catalog | None
) -> dict[tuple[str, str], dict[str, MailboxVersion]]:
    """What the catalog knows of each user, by partition and group, also of groups that are not configured any
    more. Raises NotFoundError for a partition that is not configured."""
    names = [one.name for one in config.partitions]
    for path in paths:
        if not any(map(path.selects_partition, names)):
            raise NotFoundError(f"{path}: there is no such partition; there are: {', '.join(names)}")
    if catalog is None:
        return {}
    return {
        (partition, group): catalog.known_users(partition, group)
        for partition, group in catalog.scopes()
        if partition in names and any(path.selects_partition(partition) for path in paths)
    }


def _known_sizes(known: Known) -> dict[str, dict[str, MailboxSize]]:
    sizes: dict[str, dict[str, MailboxSize]] = {}
    for (partition, _), versions in known.items():
        sizes.setdefault(partition, {}).update(
            (user, MailboxSize(user=user, messages=version.stored, size_bytes=version.size_bytes))
            for user, version in versions.items()
        )
    return sizes


def _departures(
    config: Config,
    paths: Sequence[LogicalPath],
    inventories: Sequence[Inventory],
    known: Known,
    taken: Muster,
) -> Departures:
    return find_departures(
        paths,
        inventories,
        known,
        taken.members,
        config.groups.rules,
        off=config.groups.off,
        excluded=config.exclude.leaves_out,
    )


def _over(
    paths: Sequence[LogicalPath], inventories: Sequence[Inventory], known: Known
) -> Iterator[tuple[str, str]]:
    """The known groups that the paths select as a whole, those that are off too."""
    return covered(paths, [inventory.partition.name for inventory in inventories], known, off=())


def _alarms(
    config: Config,
    paths: Sequence[LogicalPath],
    inventories: Sequence[Inventory],
    known: Known,
    departures: Departures,
) -> tuple[Alarm, ...]:
    """The partitions of which too many mailboxes are gone. One that is empty was accepted as it is."""
    alarms = []
    for inventory in inventories:
        name = inventory.partition.name
        scopes = [scope for scope in covered(paths, [name], known, config.groups.off) if inventory.sizes]
        gone = {
            departed.user
            for scope in scopes
            for departed in departures.get(scope, ())
            if departed.reason == GONE
        }
        expected = ChainMap(*(dict(known[scope]) for scope in scopes))
        alarms.append(alarm_of_partition(name, expected, gone, config.retention.alarm_share))
    return tuple(alarm for alarm in alarms if alarm is not None)


def _not_found(request: Request, inventories: Sequence[Inventory]) -> tuple[Skipped, ...]:
    if request.users is None:
        return ()
    missing = request.users.missing(user for inventory in inventories for user in inventory.sizes)
    return tuple(Skipped(user, "no-mailbox", f"named in {request.users.source}") for user in missing)
