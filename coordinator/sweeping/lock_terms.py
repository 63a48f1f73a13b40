"""Until when copies are locked at the places that lock. Pure, but for the catalog that is asked.

What is needed is locked until the rules of retention let go of it, as far as these tell beforehand, and for
a while from now on in any case (``ahead``): nobody knows how long the newest moment, or what is held, will
stay. That while is begun anew when half of it is over, so that sweeps need not come often, and most of them
find nothing to do. What is not needed any more comes free by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from ...proto.records import ArchiveId, Location
from ...proto.structs import Record, field
from ..catalog.reading import CatalogReader
from ..history import ArchiveRecord, CopyRecord
from ..retention import RetentionRules, lasting
from .policy import has_copy

MOST_AT_ONCE = 2000
"""So many copies at a place get new locks in one sweep, those first that come free first: each takes three
requests."""


class Needs(Record, kw_only=True):
    """The archives that are needed, and of some until when they will be in any case."""

    archives: frozenset[ArchiveId] = frozenset()
    until: Mapping[ArchiveId, datetime] = field(default_factory=dict)


class DueLock(Record, kw_only=True):
    """A copy of an archive that is to be locked until then."""

    archive: ArchiveId
    copy: CopyRecord
    until: datetime

    @property
    def location(self) -> Location:
        """Where it lies."""
        return Location(self.copy.place, self.copy.name, self.copy.version, self.copy.size_bytes)


def needs(
    catalog: CatalogReader, rules_of: Callable[[str], RetentionRules], now: datetime, beyond: datetime
) -> Needs:
    """What the kept moments need, and what is kept beside them: what is held, what a run has stored that did
    not end. Nothing is said of an end that comes before ``beyond``."""
    until: dict[ArchiveId, datetime] = {}
    for partition, group in catalog.scopes():
        ends = lasting(catalog.moments(partition, group), rules_of(group), now)
        for run, end in ends.items():
            if end > beyond:
                for archive in catalog.archives_at(partition, group, run):
                    until[archive] = max(end, until.get(archive, end))
    return Needs(archives=catalog.archives_kept(), until=until)


def lock_until(needed: Needs, archive: ArchiveId, now: datetime, ahead: timedelta) -> datetime | None:
    """Until when a copy that is made or locked now is to be locked; None: nobody needs it."""
    if archive not in needed.archives:
        return None
    return max(now + ahead, needed.until.get(archive, now))


def due_locks(
    records: Iterable[ArchiveRecord], needed: Needs, aheads: Mapping[str, timedelta], now: datetime
) -> list[DueLock]:
    """The copies that are to be locked anew at places that lock (``aheads``), as many as one sweep does."""
    due = sorted(_all_due(records, needed, aheads, now), key=_urgency)
    chosen: list[DueLock] = []
    for _, those in groupby(sorted(due, key=lambda one: one.copy.place), key=attrgetter("copy.place")):
        chosen += list(those)[:MOST_AT_ONCE]
    return chosen


def _all_due(
    records: Iterable[ArchiveRecord], needed: Needs, aheads: Mapping[str, timedelta], now: datetime
) -> Iterator[DueLock]:
    for record in records:
        for copy in record.copies:
            ahead = aheads.get(copy.place)
            if ahead is None or copy.state == "lost" or _is_replaced(record, copy):
                continue
            until = lock_until(needed, record.archive, now, ahead)
            if until is not None and is_due(copy.locked_until, until, now, ahead):
                yield DueLock(archive=record.archive, copy=copy, until=until)


def is_due(locked_until: datetime | None, until: datetime, now: datetime, ahead: timedelta) -> bool:
    """Whether what is locked until then, if at all, is to be locked ``until`` later."""
    least = until if until > now + ahead else now + ahead / 2
    return locked_until is None or locked_until < least


def _is_replaced(record: ArchiveRecord, copy: CopyRecord) -> bool:
    """Whether a copy is of what the archive was before, and as it is now it lies there, too."""
    return copy.generation != record.generation and has_copy(record, copy.place)


def _urgency(due: DueLock) -> tuple[bool, float]:
    until = due.copy.locked_until
    return until is not None, until.timestamp() if until else 0.0
