"""Alarms of runs, and holds: what looked like a loss, and what is kept because of it, in pages."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path

from ...groups.paths import LogicalPath
from ...proto.errors import UsageError
from ...proto.records import RunId, Skipped
from ...proto.structs import Record
from ..catalog.reading import CatalogReader
from ..holds import Hold, Holds, holds_identity, read_holds
from ..run_ids import started_of

RUNS = 20
ENTRIES = 50
"""So many runs with their alarms, of each run so many alarms, and so many holds are in one answer."""


class RaisedAlarm(Record, kw_only=True):
    """Something that a run found: ``reason`` for programs, ``detail`` for people. ``held``: the mailbox that
    it is about is held, by the alarm or somebody."""

    path: str
    reason: str
    detail: str
    held: bool


class AlarmedRun(Record, kw_only=True):
    """A run that raised so many alarms in all, and the first of them."""

    run: RunId
    started: datetime
    count: int
    alarms: tuple[RaisedAlarm, ...]


class AlarmList(Record, kw_only=True):
    """The runs that raised alarms, the newest first. ``before`` is what to ask for the older ones with, None
    if there are none."""

    runs: tuple[AlarmedRun, ...]
    before: RunId | None = None


class HoldList(Record, kw_only=True):
    """Holds, the newest first: of all that were asked for (``total``) those behind some. ``behind`` is what
    to ask for the following ones with, None if there are none."""

    holds: tuple[Hold, ...]
    total: int
    behind: int | None = None


def alarm_list(
    catalog: CatalogReader, staging: Path, before: RunId | None = None, runs: int = RUNS, most: int = ENTRIES
) -> AlarmList:
    """A page of the alarms. Raises DamagedError, StagingError."""
    holds = known_holds(staging)
    found = catalog.alarmed_runs(runs + 1, before)
    shown = []
    for run in found[:runs]:
        alarms = catalog.alarms(run)
        told = tuple(_raised(alarm, holds) for alarm in alarms[:most])
        shown.append(AlarmedRun(run=run, started=started_of(run), count=len(alarms), alarms=told))
    return AlarmList(runs=tuple(shown), before=shown[-1].run if len(found) > runs else None)


def hold_list(staging: Path, sought: str = "", behind: int = 0, most: int = ENTRIES) -> HoldList:
    """A page of the holds whose path, run or reason holds a text, whatever its case. Raises DamagedError,
    StagingError."""
    wanted = sought.casefold()
    found = [
        hold
        for hold in reversed(known_holds(staging).all)
        if wanted in hold.what.casefold() or wanted in hold.reason.casefold()
    ]
    shown = found[behind : behind + most]
    more = behind + len(shown)
    return HoldList(holds=tuple(shown), total=len(found), behind=more if more < len(found) else None)


def known_holds(staging: Path) -> Holds:
    """The holds as they are now; the file is read anew only when it is another one than before: there may be
    one for each mailbox of a partition. Raises DamagedError, StagingError."""
    return _remembered(staging, holds_identity(staging))


@lru_cache(maxsize=2)
def _remembered(staging: Path, _identity: tuple[int, ...]) -> Holds:
    return read_holds(staging)


def _raised(alarm: Skipped, holds: Holds) -> RaisedAlarm:
    return RaisedAlarm(
        path=alarm.path, reason=alarm.reason, detail=alarm.detail, held=_is_held(alarm.path, holds)
    )


def _is_held(text: str, holds: Holds) -> bool:
    """Whether the mailbox, or any below a group or partition, is held."""
    try:
        path = LogicalPath.parse(text)
    except UsageError:
        return False
    if path.user is None:
        return bool(holds.below(path))
    return holds.holds_user(path.partition or "", path.group or "", path.user)
