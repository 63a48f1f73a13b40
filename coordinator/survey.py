"""How the mailboxes of the mail stores fall into groups and shards, before anything is backed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..groups.assignment import assign
from ..groups.paths import EVERYBODY, LogicalPath
from ..proto.errors import NotFoundError
from ..proto.records import RunId, Skipped, Unit
from ..proto.structs import Record, replace
from .catalog import Catalog
from .dispatch.engine import Engine
from .inventory import Failure
from .plan import NO_GROUP, Plan
from .preparation import make_plan
from .request import Request
from .settings import Config, ExcludeConfig

_PASSED_OVER = ("excluded-user", "group-off")


class GroupSurvey(Record, kw_only=True):
    """A group of a partition, as a run would find it now; sizes are estimates until it was backed up."""

    partition: str
    group: str
    users: int
    shards: int
    messages: int
    size_bytes: int


class Survey(Record, kw_only=True):
    """The groups, and by their paths the users in no group (and whether a run leaves them out) and in
    several, with these. ``left_out`` are users and groups that a run over these paths passes over,
    ``not_taken`` is what looks like mail in the stores and is not backed up.
    ``excluded_folders`` are the patterns of folders that runs leave out, by group; "" for all groups.
    ``failures`` are the partitions that can't be listed."""

    groups: tuple[GroupSurvey, ...]
    ungrouped: tuple[str, ...]
    ungrouped_left_out: bool
    several: Mapping[str, tuple[str, ...]]
    left_out: tuple[Skipped, ...]
    not_taken: tuple[Skipped, ...]
    excluded_folders: Mapping[str, tuple[str, ...]]
    failures: tuple[Failure, ...]


def take_survey(config: Config, paths: Sequence[LogicalPath], *, engine: Engine) -> Survey:
    """Look at what the paths select, with the sizes of the catalog where there is one.

    Raises UsageError or NotFoundError for paths that select nothing, StoreError if no partition can be
    listed.
    """
    # Who is in several groups is the question here, not an error.
    rules = config.groups.rules
    if rules.several == "error":
        rules = replace(rules, several="report")
        config = replace(config, groups=replace(config.groups, rules=rules))
    catalog = _catalog(config.staging.path)
    try:
        workers = config.dispatch.workers_per_host
        request = Request(paths=tuple(paths))
        plan, failures = make_plan(config, RunId(""), request, catalog, engine, workers=workers)
    finally:
        if catalog is not None:
            catalog.close()
    if failures and not plan.units:
        raise failures[0].error
    ungrouped: list[str] = []
    several: dict[str, tuple[str, ...]] = {}
    for partition, names in _users(plan).items():
        assignment = assign(sorted(names), rules)
        ungrouped += [str(LogicalPath(partition, EVERYBODY, user)) for user in assignment.ungrouped]
        for user, groups in assignment.several.items():
            several[str(LogicalPath(partition, EVERYBODY, user))] = groups
    return Survey(
        groups=_groups(plan.units),
        ungrouped=tuple(ungrouped),
        ungrouped_left_out=rules.ungrouped == "report",
        several=several,
        left_out=tuple(skip for skip in plan.left_out if skip.reason in _PASSED_OVER),
        not_taken=tuple(one for one in plan.left_out if one.reason not in {NO_GROUP, *_PASSED_OVER}),
        excluded_folders=_excluded_folders(config.exclude),
        failures=tuple(failures),
    )


def _users(plan: Plan) -> dict[str, set[str]]:
    """By partition, the users who are in a unit or in no group."""
    users: dict[str, set[str]] = {}
    for unit in plan.units:
        users.setdefault(unit.partition.name, set()).update(unit.users)
    for skip in plan.left_out:
        path = LogicalPath.parse(skip.path)
        if skip.reason == NO_GROUP and path.partition is not None and path.user is not None:
            users.setdefault(path.partition, set()).add(path.user)
    return users


def _excluded_folders(exclude: ExcludeConfig) -> dict[str, tuple[str, ...]]:
    everywhere = {"": exclude.folders} if exclude.folders else {}
    return {**everywhere, **{group: found for group, found in exclude.group_folders.items() if found}}


def _catalog(staging: Path) -> Catalog | None:
    try:
        return Catalog.open(staging)
    except NotFoundError:
        return None


def _groups(units: Sequence[Unit]) -> tuple[GroupSurvey, ...]:
    grouped: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        if unit.users:  # another one only tells who has departed
            grouped.setdefault((unit.partition.name, unit.group), []).append(unit)
    return tuple(
        GroupSurvey(
            partition=partition,
            group=group,
            users=sum(len(one.users) for one in held),
            shards=len(held),
            messages=sum(one.messages for one in held),
            size_bytes=sum(one.size_bytes for one in held),
        )
        for (partition, group), held in sorted(grouped.items())
    )
