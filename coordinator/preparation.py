"""What comes before the work of a run: look at the partitions, and plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..groups.paths import LogicalPath
from ..proto.errors import NotFoundError, UsageError
from ..proto.records import MailboxSize, RunId, Skipped
from .catalog import Catalog
from .dispatch.engine import Engine
from .history import MailboxVersion
from .inventory import Failure, take_inventories
from .plan import Plan, plan_run
from .settings import Config
from .users_file import UserList


def make_plan(
    config: Config,
    run: RunId,
    paths: Sequence[LogicalPath],
    catalog: Catalog | None,
    engine: Engine,
    *,
    workers: int,
    users: UserList | None = None,
) -> tuple[Plan, list[Failure]]:
    """The units of a run for so many workers on each host, and the partitions that can't be listed.

    With a list of ``users`` only these are backed up; those that are found nowhere are left out, and told.
    Raises UsageError or NotFoundError for paths that select nothing.
    """
    if any(path.folder is not None for path in paths):
        raise UsageError("a backup takes whole mailboxes: end the path with the user")
    known = _known_versions(config, paths, catalog)
    inventories, failures = take_inventories(
        config.partitions,
        paths,
        _known_sizes(known),
        engine,
        lambda partition: len(catalog.last_run_users(partition)) if catalog is not None else 0,
        users.users if users else None,
    )
    if failures and not inventories:
        return Plan(units=()), failures
    plan = plan_run(
        run,
        paths,
        inventories,
        config.groups.rules,
        workers=workers,
        largest_bytes=config.groups.largest_unit_bytes,
        previous={
            scope: {user: version.shard for user, version in versions.items()}
            for scope, versions in known.items()
        },
    )
    if not (plan.units or plan.left_out or failures):
        searched = ", ".join(one.partition.path for one in inventories)
        raise NotFoundError(f"{' '.join(map(str, paths))}: there is no mailbox to back up in {searched}")
    if users is not None:
        missing = users.missing(user for one in inventories for user in one.sizes)
        told = tuple(Skipped(user, "no-mailbox", f"named in {users.source}") for user in missing)
        plan = replace(plan, left_out=(*plan.left_out, *told))
    return plan, failures


def _known_versions(
    config: Config, paths: Sequence[LogicalPath], catalog: Catalog | None
) -> dict[tuple[str, str], dict[str, MailboxVersion]]:
    """What the catalog knows of each user, by partition and group. Raises NotFoundError for a partition
    that is not configured."""
    names = [one.name for one in config.partitions]
    for path in paths:
        if not any(map(path.selects_partition, names)):
            raise NotFoundError(f"{path}: there is no such partition; there are: {', '.join(names)}")
    if catalog is None:
        return {}
    return {
        (name, group): catalog.known(name, group)
        for name in names
        if any(path.selects_partition(name) for path in paths)
        for group in config.groups.rules.names()
    }


def _known_sizes(
    known: dict[tuple[str, str], dict[str, MailboxVersion]],
) -> dict[str, dict[str, MailboxSize]]:
    sizes: dict[str, dict[str, MailboxSize]] = {}
    for (partition, _), versions in known.items():
        sizes.setdefault(partition, {}).update(
            (user, MailboxSize(user=user, messages=one.stored, size_bytes=one.size_bytes))
            for user, one in versions.items()
        )
    return sizes
