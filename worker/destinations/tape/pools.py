"""Which volume of a pool is written on next. Deciding only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ....proto.structs import Record
from .inventory import KnownVolume


class Allocation(StrEnum):
    """For how long a volume takes archives: until it is full, or those of one day or week (of UTC) only."""

    FULL = "full"
    DAY = "day"
    WEEK = "week"


class Pool(Record, kw_only=True):
    """Volumes that are written on in the same way. One whose archives were all removed is labelled anew
    ``reuse_after`` its last archive was written; None: never."""

    name: str
    allocation: Allocation = Allocation.FULL
    reuse_after: timedelta | None = None


def writable(pool: Pool, volumes: Iterable[KnownVolume], now: datetime) -> Sequence[KnownVolume]:
    """Those that take more archives now, the one that was written on last before the others."""
    fit = [
        volume
        for volume in volumes
        if volume.label.pool == pool.name
        and not volume.contents.finished
        and not volume.retired
        and (not volume.contents.entries or _period(pool, _time(volume.label.made)) == _period(pool, now))
    ]
    return sorted(fit, key=lambda one: one.written, reverse=True)


def reusable(pool: Pool, volumes: Iterable[KnownVolume], now: datetime) -> Sequence[KnownVolume]:
    """Those that hold nothing any more and were left alone for long enough, the oldest first."""
    after = pool.reuse_after
    if after is None:
        return []
    fit = [
        volume
        for volume in volumes
        if volume.label.pool == pool.name
        and volume.contents.entries
        and volume.empty
        and not volume.retired
        and not volume.label.worm
        and _time(volume.written) + after <= now
    ]
    return sorted(fit, key=lambda one: one.written)


def _period(pool: Pool, moment: datetime) -> tuple[int, ...]:
    match pool.allocation:
        case Allocation.FULL:
            return ()
        case Allocation.DAY:
            return (moment.toordinal(),)
        case Allocation.WEEK:
            return moment.isocalendar()[:2]


def _time(text: str) -> datetime:
    """A time that a label or a catalog tells; what is none is long ago."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
