"""Why the backup holds nothing of a mailbox as of a run: told from its history."""

from __future__ import annotations

from collections.abc import Sequence

from ..groups.nearness import hint
from ..groups.paths import EVERYBODY, LogicalPath
from ..proto.records import RunId
from ..proto.structs import Record
from .catalog import Catalog
from .history import Version

_NOTHING = "the backup holds nothing of it"

_FOUND = {
    "removed": "gone from the mail store",
    "left-group": "not in the group any more",
    "moved": "moved to another partition",
}


def absence(catalog: Catalog, run: RunId, path: LogicalPath) -> str:
    """A sentence on why nothing of a path was there as of a run; where it can be had, if it can."""
    if path.user is None:
        return _NOTHING + _near(catalog, path)
    group = None if path.group == EVERYBODY else path.group
    known = list(catalog.histories(path.partition, group, path.user))
    before = [version for version in known if version.run <= run]
    if before:
        return _gone(catalog, max(before, key=lambda one: one.run))
    later = [one for one in known if not one.departed]
    if later:
        first = min(later, key=lambda one: one.run)
        return f"{_NOTHING} as of run {run}; it was first stored in run {first.run}"
    return _NOTHING + _near(catalog, path)


class LastSeen(Record):
    """Of a mailbox that was gone by some run: the newest moment that it can be had from, and a sentence."""

    run: RunId
    told: str


def last_seen(catalog: Catalog, run: RunId, path: LogicalPath) -> LastSeen | None:
    """When a mailbox was there last that had been removed by a run; None if it had not, or was never stored,
    or what was stored of it is purged."""
    if path.user is None:
        return None
    group = None if path.group == EVERYBODY else path.group
    before = [
        history for history in catalog.histories(path.partition, group, path.user) if history.run <= run
    ]
    last = max(before, key=lambda one: one.run, default=None)
    if last is None or last.departed != "removed":
        return None
    moment = _moment_before(catalog, last)
    if moment is None:
        return None
    return LastSeen(
        moment, f"{path}: run {last.run} found it {_FOUND[last.departed]}; this is as of {moment}"
    )


def unknown(catalog: Catalog, path: LogicalPath) -> str:
    """A sentence on why the backup holds nothing of a path at any time: it may be misspelt."""
    return f"{_NOTHING}, at no kept moment{_near(catalog, path)}"


def _near(catalog: Catalog, path: LogicalPath) -> str:
    """Which partitions, groups or users there are with a name like that of the path."""
    scopes = catalog.scopes()
    partitions = {partition for partition, _ in scopes}
    if path.partition is not None and path.partition not in partitions:
        return hint(path.partition, partitions)
    within = [scope for scope in scopes if path.partition in (None, scope[0])]
    groups = {group for _, group in within} | {EVERYBODY}
    if path.group is not None and path.group not in groups:
        return hint(path.group, groups)
    if path.user is None:
        return ""
    wanted = [scope for scope in within if path.selects_group(scope[1])]
    return hint(path.user, (user for scope in wanted for user in catalog.known_users(*scope)))


def _gone(catalog: Catalog, last: Version) -> str:
    """It had departed: that it is not there though it was stored can't be otherwise."""
    why = _FOUND.get(last.departed, last.departed)
    detail = f" ({last.detail})" if last.detail else ""
    told = f"run {last.run} found it {why}{detail}"
    until = _moment_before(catalog, last)
    return f"{told}; --at {until} has it" if until else f"{told}, and what was stored of it before is purged"


def _moment_before(catalog: Catalog, departure: Version) -> RunId | None:
    """The newest moment that a mailbox can be had from, before it was found to have departed."""
    known = catalog.history(departure.partition, departure.user, departure.group)
    kept = [moment.run for moment in catalog.moments(departure.partition, departure.group)]
    return _last_moment(known, kept, departure.run)


def _last_moment(known: Sequence[Version], kept: Sequence[RunId], before: RunId) -> RunId | None:
    """The newest run that the mailbox can be had from, of those before another one."""
    stored = [version.run for version in known if version.run < before and not version.departed]
    if not stored:
        return None
    return max((run for run in kept if stored[-1] <= run < before), default=stored[-1])
