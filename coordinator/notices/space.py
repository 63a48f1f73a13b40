"""How full the staging area and the destinations are, and when each will be full, as they have filled up
lately. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta

from ...proto.structs import Record, replace
from ..texts import counted, size
from .records import Notice

LATELY = timedelta(days=14)
FEWEST_DAYS = 3
"""Before there are measurements of so many days nothing is foretold."""

_LITTLE = 0.05
_ENOUGH = 0.08
"""A place with a smaller share free is short of space; it is not any more when this is free."""

_EASED = 1.5
"""It is over when it lasts so many times longer than what was too short."""


class Sample(Record, kw_only=True):
    """The fullest that a place was on a day: ``used_bytes``, and so many ``free_bytes`` for us (None: nobody
    knows how much there is). Of tapes ``volumes`` are those among what is free that nothing is on (None: it
    has none, or that is not on record)."""

    place: str
    day: date
    used_bytes: int
    free_bytes: int | None
    volumes: int | None = None


class PlaceSpace(Record, kw_only=True):
    """A place now, and when it will be full: in ``days_left`` days (None: never, as it looks now, or it can't
    be told). ``growth_bytes`` a day is what it took lately (None: that can't be told yet). Else as in
    ``Sample``."""

    place: str
    used_bytes: int
    free_bytes: int | None
    volumes: int | None = None
    growth_bytes: float | None = None
    days_left: float | None = None

    @property
    def total_bytes(self) -> int | None:
        """What there is for us, used or not."""
        return None if self.free_bytes is None else self.used_bytes + self.free_bytes

    @property
    def free_share(self) -> float | None:
        """From 0 to 1."""
        if self.free_bytes is None:
            return None
        return self.free_bytes / self.total_bytes if self.total_bytes else 0.0


def forecast(samples: Sequence[Sample], now: Sequence[Sample], today: date) -> tuple[PlaceSpace, ...]:
    """Each place that was measured ``now``, with what it took a day lately: the slope of the straight line
    that fits the days best, so that a purge or a sweep now and then does not hide how a place fills up. It is
    full when it will be so for a part of the day."""
    places: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda one: one.day):
        if today - LATELY <= sample.day <= today:
            places.setdefault(sample.place, []).append(sample)
    return tuple(_foretold(one, places.get(one.place, [])) for one in now)


def _foretold(now: Sample, days: Sequence[Sample]) -> PlaceSpace:
    place = PlaceSpace(
        place=now.place, used_bytes=now.used_bytes, free_bytes=now.free_bytes, volumes=now.volumes
    )
    if len(days) < FEWEST_DAYS:
        return place
    xs = [(day.day - days[0].day).days for day in days]
    ys = [sample.used_bytes for sample in days]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    free = days[-1].free_bytes
    days_left = free / slope if free is not None and slope > 0 else None
    return replace(place, growth_bytes=slope, days_left=days_left)


def shortages(spaces: Iterable[PlaceSpace], known: frozenset[str], within_days: float) -> Iterator[Notice]:
    """The places that are short of space. Of one whose cause is ``known`` it takes more than the threshold to
    be over, so that nobody hears of it again and again."""
    for space in spaces:
        cause = cause_of(space.place)
        days, share = (within_days * _EASED, _ENOUGH) if cause in known else (within_days, _LITTLE)
        little = space.free_share is not None and space.free_share < share
        if little or (space.days_left is not None and space.days_left < days):
            yield Notice(
                event="space",
                cause=cause,
                subject=f"{named(space.place)} {when_full(space)}",
                lines=(
                    f"{room_of(space)}.",
                    *(
                        [f"It took {size(round(space.growth_bytes))} a day lately."]
                        if space.growth_bytes
                        else []
                    ),
                    *([_MORE_VOLUMES] if space.volumes is not None else []),
                ),
                facts={
                    "place": space.place,
                    "free_bytes": space.free_bytes,
                    "total_bytes": space.total_bytes,
                    "days_left": space.days_left,
                },
            )


_MORE_VOLUMES = "`mailhaul tape label` makes a blank volume, or an old one, ready to be written on."


def cause_of(place: str) -> str:
    """The cause of its shortage."""
    return f"space:{place}"


def named(place: str) -> str:
    """For people."""
    return "The staging area" if place == "staging" else f"The destination {place}"


def room_of(space: PlaceSpace) -> str:
    """``1.2 TB of 4.0 TB free (30%)``, or how much lies there where nobody knows how much there is."""
    if space.free_bytes is None or space.total_bytes is None or space.free_share is None:
        return f"{size(space.used_bytes)} there"
    volumes = "" if space.volumes is None else f", {counted(space.volumes, 'empty volume')}"
    return f"{size(space.free_bytes)} of {size(space.total_bytes)} free ({space.free_share:.0%}){volumes}"


def when_full(space: PlaceSpace) -> str:
    """``is full in 5 days``, or how much is free."""
    if space.free_bytes == 0:
        return "is full"
    if space.days_left is None or space.days_left > 365:
        return f"has {space.free_share or 0:.0%} free"
    days = round(space.days_left)
    return "is full within a day" if days < 1 else f"is full in {days} day{'s' * (days != 1)}"


def outlook(space: PlaceSpace) -> str:
    """How long a place lasts, for people, also where that is long, or can't be told."""
    if space.growth_bytes is None:
        return "how long it lasts is not known yet"
    if space.free_bytes is None:
        grows = space.growth_bytes >= 1
        return f"grows by {size(round(space.growth_bytes))} a day" if grows else "does not grow at the moment"
    if space.days_left is None or space.days_left > 365:
        return "lasts for more than a year"
    return when_full(space)
