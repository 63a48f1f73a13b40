"""The look at how full places are: measured, kept day by day, foretold."""

from __future__ import annotations

from datetime import datetime

from ..service.notices import NoticeRecord
from ..service.space import SpaceRecord
from ..settings import Config
from .conditions import reconcile
from .space import PlaceSpace, forecast, measure, shortages


def spaces_of(config: Config, now: datetime) -> tuple[PlaceSpace, ...]:
    """All places that are file systems, as they are now; that is on record. Raises StagingError,
    DamagedError."""
    record = SpaceRecord(config.staging.path)
    today = now.date()
    found = measure(config.staging.path, config.staging.reserve_bytes, config.destinations, today)
    record.note(found)
    return forecast(record.samples(), found, today)


def look_at_space(config: Config, now: datetime) -> None:
    """Raise what is short, and end what is not any more. Raises as ``raise_notice``."""
    staging = config.staging.path
    lasting = NoticeRecord(staging).lasting(("space",))
    spaces = spaces_of(config, now)
    known = frozenset(one.notice.cause for one in lasting)
    found = shortages(spaces, known, config.notices.space_days)
    # Of a place that does not answer nobody knows: what was so lasts.
    silent = {"staging", *(one.name for one in config.destinations)} - {one.place for one in spaces}
    kept = (one.notice for one in lasting if one.notice.facts.get("place") in silent)
    reconcile(staging, "space", (*found, *kept), now)
