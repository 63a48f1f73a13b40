"""How full places are that can't be asked: from the catalog what was brought to an object storage or given to
a program, from the inventory what is on tapes. Nothing is loaded, and no place is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.errors import NotFoundError, PlaceError
from ...worker.destinations.settings import (
    CommandDestination,
    Destination,
    S3Destination,
    TapeDestination,
)
from ...worker.destinations.tape.inventory import Inventory, KnownVolume
from ...worker.destinations.tape.pools import Allocation, Pool, reusable, writable
from ..catalog import Catalog
from .space import Sample

_TB = 10**12
_CAPACITIES = {
    "LTO-1": _TB // 10, "LTO-2": _TB // 5, "LTO-3": _TB * 2 // 5, "LTO-4": _TB * 4 // 5,
    "LTO-5": _TB * 3 // 2, "LTO-6": _TB * 5 // 2,
    "LTO-7": 6 * _TB, "LTO-7 M8": 9 * _TB, "LTO-8": 12 * _TB, "LTO-9": 18 * _TB,
}  # fmt: skip
"""Bytes on a volume that can't be compressed, as archives can't."""


def on_record(
    destinations: Iterable[Destination], held: Mapping[str, int], now: datetime
) -> Iterator[Sample]:
    """What there is in each destination that can't be asked (aware ``now``); ``held`` are the bytes in each
    place by the catalog. One whose records can't be read is left out."""
    for destination in destinations:
        if isinstance(destination, (S3Destination, CommandDestination)):
            used = held.get(destination.name, 0)
            free = None if destination.capacity_bytes is None else max(0, destination.capacity_bytes - used)
            yield Sample(place=destination.name, day=now.date(), used_bytes=used, free_bytes=free)
        elif isinstance(destination, TapeDestination) and destination.devices:
            try:
                volumes = [
                    known
                    for known in Inventory(destination.state).all()
                    if known.label.pool == destination.pool
                ]
            except PlaceError:
                continue
            if volumes:
                yield _of_tapes(destination, volumes, now)


def held_by(staging: Path) -> Mapping[str, int]:
    """The bytes of the copies in each place, also of those that nobody needs and that are still there. Raises
    StagingError, DamagedError."""
    held: Counter[str] = Counter()
    try:
        with Catalog.open(staging) as catalog:
            standing = catalog.copy_standing()
    except NotFoundError:  # no run was begun yet
        return held
    for place in standing.places:
        if place.state != "lost":
            held[place.place] += place.size_bytes
    for left in standing.leftovers:
        held[left.place] += left.size_bytes
    return held


def _of_tapes(settings: TapeDestination, volumes: Sequence[KnownVolume], now: datetime) -> Sample:
    """A volume that takes nothing more is used as a whole, whatever is on it, until it may be labelled anew.
    Volumes that nothing is written on any more for their wear are no room."""
    reuse = None if settings.reuse_seconds is None else timedelta(seconds=settings.reuse_seconds)
    pool = Pool(name=settings.pool, allocation=Allocation(settings.allocation), reuse_after=reuse)
    good = [one for one in volumes if not one.retired]
    open_ones = writable(pool, good, now)
    again = reusable(pool, good, now)
    empty = [known_volume for known_volume in open_ones if not known_volume.contents.entries]
    free_ones = {one.label.volume for one in (*empty, *again)}
    takes_more = {one.label.volume for one in open_ones}
    usual = _usual_bytes(good)
    used = free = 0
    knows = True
    for volume in good:
        capacity, written = _CAPACITIES.get(volume.label.generation, usual), _written(volume)
        if volume.label.volume in free_ones:
            free += capacity or 0
        elif volume.label.volume in takes_more:
            used += written
            free += max(0, (capacity or 0) - written)
        else:
            used += written if capacity is None else capacity
            continue
        knows = knows and capacity is not None
    return Sample(
        place=settings.name,
        day=now.date(),
        used_bytes=used,
        free_bytes=free if knows else None,
        volumes=len(free_ones),
    )


def _usual_bytes(volumes: Iterable[KnownVolume]) -> int | None:
    """What volumes took that were written to their end; None: none was yet."""
    full = [_written(volume) for volume in volumes if volume.contents.finished and volume.contents.entries]
    return sum(full) // len(full) if full else None


def _written(volume: KnownVolume) -> int:
    return sum(entry.bytes for entry in volume.contents.entries)
