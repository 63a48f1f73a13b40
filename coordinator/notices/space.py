"""How full the staging area and the destinations are, and when each will be full, as they have filled up
lately. Pure, but for the looks themselves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from ...proto.structs import Record
from ...worker.destinations.settings import Destination, DirectoryDestination
from ..texts import size
from .records import Notice

LATELY = timedelta(days=14)
FEWEST_DAYS = 3
"""Before there are measurements of so many days nothing is foretold."""

_LITTLE = 0.05
_ENOUGH = 0.08
"""A place with a smaller share free is short of space; it is not any more when this is free."""

_EASED = 1.5
"""It is over when it lasts so many times longer than what was too short."""

_ASK_SECONDS = 10.0
_asking: dict[Path, threading.Thread] = {}
"""Who asked last about each place."""


class Sample(Record, kw_only=True):
    """The fullest that a place was on a day: ``used_bytes``, and so many ``free_bytes`` for us."""

    place: str
    day: date
    used_bytes: int
    free_bytes: int


class PlaceSpace(Record, kw_only=True):
    """A place now, and when it will be full: in ``days_left`` days (None: never, as it looks now, or it can't
    be told yet). ``growth_bytes`` a day is what it took lately."""

    place: str
    used_bytes: int
    free_bytes: int
    growth_bytes: float | None = None
    days_left: float | None = None

    @property
    def total_bytes(self) -> int:
        """What there is for us, used or not."""
        return self.used_bytes + self.free_bytes

    @property
    def free_share(self) -> float:
        """From 0 to 1."""
        return self.free_bytes / self.total_bytes if self.total_bytes else 0.0


def measure(
    staging: Path, reserve_bytes: int, destinations: Iterable[Destination], day: date
) -> list[Sample]:
    """Look at all places that are file systems. One that does not answer is left out."""
    places = [("staging", staging, reserve_bytes)]
    places += [(one.name, Path(one.path), 0) for one in destinations if isinstance(one, DirectoryDestination)]
    found = []
    for name, path, reserve in places:
        room = _asked(path)
        if room is not None:
            total, free = room
            left = max(0, free - reserve)
            found.append(
                Sample(place=name, day=day, used_bytes=max(0, total - reserve - left), free_bytes=left)
            )
    return found


def _asked(path: Path) -> tuple[int, int] | None:
    """Total and free bytes. A mount whose server is gone keeps who asks waiting for good: not us; and nobody
    asks it again who would be kept waiting, too."""
    if (before := _asking.get(path)) is not None and before.is_alive():
        return None
    found: list[tuple[int, int]] = []

    def ask() -> None:
        try:
            room = os.statvfs(path)
        except OSError:
            return
        found.append(
            ((room.f_blocks - room.f_bfree + room.f_bavail) * room.f_frsize, room.f_bavail * room.f_frsize)
        )

    thread = _asking[path] = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ASK_SECONDS)
    return found[0] if found else None


def forecast(samples: Sequence[Sample], now: Sequence[Sample], today: date) -> tuple[PlaceSpace, ...]:
    """Each place that was measured ``now``, with what it took a day lately: the slope of the straight line
    that fits the days best, so that a purge or a sweep now and then does not hide how a place fills up. It is
    full when it will be so for a part of the day."""
    places: dict[str, list[Sample]] = {}
    for one in sorted(samples, key=lambda one: one.day):
        if today - LATELY <= one.day <= today:
            places.setdefault(one.place, []).append(one)
    return tuple(_foretold(one, places.get(one.place, [])) for one in now)


def _foretold(now: Sample, days: Sequence[Sample]) -> PlaceSpace:
    if len(days) < FEWEST_DAYS:
        return PlaceSpace(place=now.place, used_bytes=now.used_bytes, free_bytes=now.free_bytes)
    xs = [(one.day - days[0].day).days for one in days]
    ys = [one.used_bytes for one in days]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    return PlaceSpace(
        place=now.place,
        used_bytes=now.used_bytes,
        free_bytes=now.free_bytes,
        growth_bytes=slope,
        days_left=days[-1].free_bytes / slope if slope > 0 else None,
    )


def shortages(spaces: Iterable[PlaceSpace], known: frozenset[str], within_days: float) -> Iterator[Notice]:
    """The places that are short of space. Of one whose cause is ``known`` it takes more than the threshold to
    be over, so that nobody hears of it again and again."""
    for one in spaces:
        cause = cause_of(one.place)
        days, share = (within_days * _EASED, _ENOUGH) if cause in known else (within_days, _LITTLE)
        if one.free_share < share or (one.days_left is not None and one.days_left < days):
            yield Notice(
                event="space",
                cause=cause,
                subject=f"{named(one.place)} {when_full(one)}",
                lines=(
                    f"{size(one.free_bytes)} of {size(one.total_bytes)} are free ({one.free_share:.0%}).",
                    *([f"It took {size(round(one.growth_bytes))} a day lately."] if one.growth_bytes else []),
                ),
                facts={
                    "place": one.place,
                    "free_bytes": one.free_bytes,
                    "total_bytes": one.total_bytes,
                    "days_left": one.days_left,
                },
            )


def cause_of(place: str) -> str:
    """The cause of its shortage."""
    return f"space:{place}"


def named(place: str) -> str:
    """For people."""
    return "The staging area" if place == "staging" else f"The destination {place}"


def when_full(one: PlaceSpace) -> str:
    """``is full in 5 days``, or how much is free."""
    if one.free_bytes == 0:
        return "is full"
    if one.days_left is None or one.days_left > 365:
        return f"has {one.free_share:.0%} free"
    days = round(one.days_left)
    return "is full within a day" if days < 1 else f"is full in {days} day{'s' * (days != 1)}"
