"""The look at how full places are: measured, kept day by day, foretold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

from ...proto.records import STAGING
from ...worker.destinations.settings import DirectoryDestination, TapeDestination
from ..service.notices import NoticeRecord
from ..service.space import SpaceRecord
from ..settings import Config
from .conditions import reconcile
from .ledgers import held_by, on_record
from .rooms import Rooms
from .space import LATELY, PlaceSpace, Sample, forecast, shortages

LEDGERS = timedelta(hours=1)
"""So often it is looked what catalog and inventory have: that takes longer than to ask a file system, and
changes with a sweep."""


def recorded_spaces(staging: Path, today: date) -> dict[str, PlaceSpace]:
    """The places that were measured lately, by name, as they were then: no place is asked. Raises
    StagingError, DamagedError."""
    samples = [sample for sample in SpaceRecord(staging).samples() if today - sample.day <= LATELY]
    newest = {sample.place: sample for sample in samples}  # they are in the order of the days
    return {space.place: space for space in forecast(samples, tuple(newest.values()), today)}


class Spaces:
    """How full the places of a configuration are. To be made once by a process; used by one thread at a
    time."""

    def __init__(self, config: Config, rooms: Rooms) -> None:
        self._config = config
        self._staging = config.staging.path
        self._rooms = rooms
        self._record = SpaceRecord(self._staging)
        self._ledgers: tuple[Sample, ...] = ()
        self._looked: datetime | None = None

    def of(self, now: datetime) -> tuple[PlaceSpace, ...]:
        """All places, as they are now; that is on record. Raises StagingError, DamagedError."""
        found = (*self._measured(now.date()), *self._on_record(now))
        self._record.note(found)
        return forecast(self._record.samples(), found, now.date())

    def look(self, now: datetime) -> None:
        """Raise what is short, and end what is not any more. Raises as ``raise_notice``."""
        lasting = NoticeRecord(self._staging).lasting(("space",))
        spaces = self.of(now)
        known = frozenset(standing.notice.cause for standing in lasting)
        found = shortages(spaces, known, self._config.notices.space_days)
        # Of a place that does not answer nobody knows: what was so lasts.
        configured = {STAGING, *(destination.name for destination in self._config.destinations)}
        silent = configured - {space.place for space in spaces}
        kept = (one.notice for one in lasting if one.notice.facts.get("place") in silent)
        reconcile(self._staging, "space", (*found, *kept), now)

    def _measured(self, day: date) -> Iterator[Sample]:
        """The places that are file systems; one that does not answer is left out. Volumes that are files are
        made as long as the disk has room."""
        places = [(STAGING, self._staging, self._config.staging.reserve_bytes)]
        for destination in self._config.destinations:
            if isinstance(destination, DirectoryDestination):
                places.append((destination.name, Path(destination.path), 0))
            elif isinstance(destination, TapeDestination) and destination.file:
                places.append((destination.name, Path(destination.file), 0))
        for name, path, reserve in places:
            if (room := self._rooms.of(path)) is not None:
                total, free = room
                left = max(0, free - reserve)
                used = max(0, total - reserve - left)
                yield Sample(place=name, day=day, used_bytes=used, free_bytes=left)

    def _on_record(self, now: datetime) -> tuple[Sample, ...]:
        looked = self._looked
        if looked is None or not timedelta(0) <= now - looked < LEDGERS or looked.date() != now.date():
            self._ledgers = tuple(on_record(self._config.destinations, held_by(self._staging), now))
            self._looked = now
        return self._ledgers
