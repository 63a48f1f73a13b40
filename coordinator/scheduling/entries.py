"""What the schedule has entries for, and the operations that they ask for. Pure.

An entry is a kind of operation, of all groups or of one, with its times. Its name (``backup``,
``backup:sales``) is what the record of handled moments and the operations know it by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from ...groups.paths import LogicalPath
from ...proto.structs import Record
from ...worker.destinations.settings import TapeDestination
from ..service.records import Kind, Request
from ..settings import Config
from .settings import GroupTimes, ScheduleConfig, Timings

BY = "schedule:"
"""Who asks for what the schedule puts in (``Request.asked_by``)."""

_KINDS: tuple[Kind, ...] = ("backup", "sweep", "verify", "purge", "drill", "inventory")
"""In this order what is due at the same moment is put in: what is stored is copied, checked, let go."""

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class Entry(Record, kw_only=True):
    """Operations of a ``kind``, due at ``times``; of one ``group``, or (empty) of all that have no entry of
    their own. A backup is due at ``full`` times, too, and reads every message again then."""

    kind: Kind
    group: str = ""
    times: Timings = ()
    full: Timings = ()

    @property
    def name(self) -> str:
        """Under which it is on record."""
        return f"{self.kind}:{self.group}" if self.group else self.kind

    @property
    def all_times(self) -> Timings:
        """All that it is due at."""
        return (*self.times, *self.full)


class Due(Record, kw_only=True):
    """An entry that is due, at ``moment`` for the last time; ``full`` if that is, or what it makes up for."""

    entry: Entry
    moment: datetime
    full: bool = False


def entries(schedule: ScheduleConfig) -> tuple[Entry, ...]:
    """All that there are, in the order in which what is due together is put in."""
    found = [Entry(kind="backup", times=schedule.backup, full=schedule.full)]
    found += [
        _backup_of(group, times, schedule) for group, times in schedule.groups.items() if _has_own(times)
    ]
    for kind in _KINDS[1:]:
        found.append(Entry(kind=kind, times=getattr(schedule, kind)))
        found += [
            Entry(kind=kind, group=group, times=getattr(group_times, kind, ()))
            for group, group_times in schedule.groups.items()
        ]
    return tuple(entry for entry in found if entry.all_times)


def requests(due: Sequence[Due], config: Config) -> tuple[Request, ...]:
    """The operations that these entries ask for, each due no more than once, in the order to put them in."""
    make = _one_run if config.schedule.order == "parallel" else _runs
    backups = [one for one in due if one.entry.kind == "backup"]
    others = sorted((one for one in due if one not in backups), key=lambda one: _KINDS.index(one.entry.kind))
    return (
        *make([backup for backup in backups if not backup.full], config),
        *make([one for one in backups if one.full], config),
        *(request for one in others for request in _others(one, config)),
    )


def named(request: Request) -> frozenset[str]:
    """The names of the entries that have asked for an operation."""
    return frozenset(filter(None, request.entry.split(",")))


def _has_own(times: GroupTimes) -> bool:
    return times.backup is not None or times.full is not None


def _backup_of(group: str, times: GroupTimes, schedule: ScheduleConfig) -> Entry:
    return Entry(
        kind="backup",
        group=group,
        times=schedule.backup if times.backup is None else times.backup,
        full=schedule.full if times.full is None else times.full,
    )


def _one_run(due: Sequence[Due], config: Config) -> Iterator[Request]:
    """One backup of all groups that are due: of everything but those that are not, or of these alone. A group
    that is off is backed up only by a run that names it."""
    everything = any(not one.entry.group for one in due)
    alone = [
        one for one in due if one.entry.group and (not everything or one.entry.group in config.groups.off)
    ]
    if everything:
        together = [one for one in due if one not in alone]
        groups = {one.entry.group for one in together}
        yield _request(together, _all_but(one for one in _own(config) if one not in groups))
    if alone:
        yield _request(alone, _paths([one.entry.group for one in alone], config))


def _runs(due: Sequence[Due], config: Config) -> Iterator[Request]:
    """A backup of each group that is due. Where all are, the last run takes the users in no group along:
    there may be none, and a run over nothing fails."""
    own = _own(config)
    defined = [definition.name for definition in config.groups.rules.definitions]
    for one in due:
        if one.entry.group:
            yield _request([one], _paths([one.entry.group], config))
            continue
        shared = [group for group in defined if group not in own and group not in config.groups.off]
        for group in shared[:-1]:
            yield _request([one], _paths([group], config))
        yield _request([one], _all_but(group for group in defined if group not in shared[-1:]))


def _others(due: Due, config: Config) -> Iterator[Request]:
    """What a sweep, a purge, a verification, a drill or an inventory comes to."""
    if due.entry.kind == "inventory":
        for tape in config.destinations:
            if isinstance(tape, TapeDestination):
                yield _request([due], [tape.name])
        return
    paths = _paths([due.entry.group], config) if due.entry.group else []
    if due.entry.kind == "drill":
        yield _request([due], paths)
        return
    age = _as_typed(config.schedule.verify_older_than_seconds)
    for words in [[path] for path in paths] or [[]]:
        if due.entry.kind != "verify":
            yield _request([due], words)
            continue
        for place in (None, *_verified(config)):
            yield _request([due], [*words, *(["--from", place] if place else []), "--older-than", age])


def _request(due: Sequence[Due], words: Sequence[str]) -> Request:
    (kind,) = {one.entry.kind for one in due}
    return Request(
        kind=kind,
        arguments=(*words, *(["--full"] if due[0].full else [])),
        asked_by=BY,
        entry=",".join(one.entry.name for one in due),
        due=max(one.moment for one in due),
    )


def _as_typed(seconds: float) -> str:
    """A time as an option takes it."""
    unit = next(unit for unit, size in _UNITS if not seconds % size)
    return f"{seconds / dict(_UNITS)[unit]:.0f}{unit}"


def _own(config: Config) -> list[str]:
    """The groups that have times of their own for backups."""
    return [group for group, times in config.schedule.groups.items() if _has_own(times)]


def _all_but(groups: Iterable[str]) -> list[str]:
    return [word for group in groups for word in ("--except-group", group)]


def _paths(groups: Iterable[str], config: Config) -> list[str]:
    return [str(LogicalPath(partition.name, group)) for group in groups for partition in config.partitions]


def _verified(config: Config) -> list[str]:
    """The destinations whose copies are verified."""
    chosen = config.schedule.verify_from
    return [
        destination.name
        for destination in config.destinations
        if destination.name in (config.sweep.places if chosen is None else chosen)
    ]
