"""Which runs of a group stay restorable: rules as people state them, and what follows from them. Pure.

Each group in each partition is looked at by itself. A rule counts only runs that were over the whole group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

from ..proto.records import RunId
from ..proto.structs import Record, asdict

if TYPE_CHECKING:
    from .history import Moment

Reasons = dict[RunId, tuple[str, ...]]
"""The runs that stay, oldest first, and why."""


class RetentionRules(Record, kw_only=True):
    """How many runs stay by each rule: the ``last`` ones, and the newest of each of so many days, weeks,
    months, years that have any. None: no such rule; without any rule everything stays.

    Raises ValueError for a number below 1.
    """

    last: int | None = None
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    yearly: int | None = None

    def __post_init__(self) -> None:
        for name, count in asdict(self).items():
            if count is not None and count < 1:
                raise ValueError(f"{name}: {count} runs can't be kept: 1 is the least")

    @property
    def keep_all(self) -> bool:
        """Whether there is no rule."""
        return all(count is None for count in asdict(self).values())


def _last(_when: datetime, number: int) -> object:
    return number


def _daily(when: datetime, _number: int) -> object:
    return when.date()


def _weekly(when: datetime, _number: int) -> object:
    return when.isocalendar()[:2]


def _monthly(when: datetime, _number: int) -> object:
    return when.year, when.month


def _yearly(when: datetime, _number: int) -> object:
    return when.year


_PERIODS: dict[str, Callable[[datetime, int], object]] = {
    "last": _last,
    "daily": _daily,
    "weekly": _weekly,
    "monthly": _monthly,
    "yearly": _yearly,
}
"""By rule, the period that a run is the only one of, from when it began and its number."""


def keep(moments: Sequence[Moment], rules: RetentionRules, zone: tzinfo | None = None) -> set[RunId]:
    """The runs that stay; see ``reasons``."""
    return set(reasons(moments, rules, zone))


def reasons(moments: Sequence[Moment], rules: RetentionRules, zone: tzinfo | None = None) -> Reasons:
    """The runs that stay, of all runs of one group (oldest first), and by which rules.

    Days begin at midnight in this zone (None: that of the system), weeks on Monday. A rule that has runs
    left to give keeps the oldest run too, so that a yearly one has what to build on in its first year.

    A run over a part of the group counts for no rule; it stays, as ``part``, until all of the last runs over
    the whole are newer: as many as ``last`` says, or one. Without any rule all stay, as ``all``.
    """
    if rules.keep_all:
        return {one.run: ("all",) for one in moments}
    whole = [one for one in moments if one.whole]
    found: dict[RunId, list[str]] = {}
    for rule, period in _PERIODS.items():
        for moment in _newest_of_each(whole, period, getattr(rules, rule) or 0, zone):
            found.setdefault(moment.run, []).append(rule)
    wanted = rules.last or 1
    oldest = whole[-wanted].run if len(whole) >= wanted else RunId("")
    for one in moments:
        if not one.whole and one.run > oldest:
            found[one.run] = ["part"]
    return {one.run: tuple(found[one.run]) for one in moments if one.run in found}


def _days_on(day: date, count: int) -> date:
    return day + timedelta(days=count)


def _weeks_on(day: date, count: int) -> date:
    return day - timedelta(days=day.weekday()) + timedelta(weeks=count)


def _months_on(day: date, count: int) -> date:
    months = day.year * 12 + day.month - 1 + count
    return date(months // 12, months % 12 + 1, 1)


def _years_on(day: date, count: int) -> date:
    return date(day.year + count, 1, 1)


_ON: dict[str, tuple[Callable[[date, int], date], int]] = {
    "daily": (_days_on, 36_525),
    "weekly": (_weeks_on, 5_218),
    "monthly": (_months_on, 1_200),
    "yearly": (_years_on, 100),
}
"""By rule, the first day of the period that comes so many after that of a day; and how many a century has:
nothing is foreseen for longer."""


def lasting(
    moments: Sequence[Moment], rules: RetentionRules, now: datetime, zone: tzinfo | None = None
) -> dict[RunId, datetime]:
    """Until when runs stay, of all runs of one group (oldest first), whatever runs there are until then; and
    if each period has one they stay no longer.

    Told by the calendar, where it can be: a run that is the last of its period so far may not be the last any
    more tomorrow, and nobody knows when the ``last`` ones are over. Such runs are not among them, nor are
    those that stay without any rule.
    """
    whole = [one for one in moments if one.whole]
    found: dict[RunId, datetime] = {}
    for rule, (on, most) in _ON.items():
        count = getattr(rules, rule) or 0
        stay = _newest_of_each(whole, _PERIODS[rule], count, zone)
        for rank, moment in enumerate(stay):
            day = stay[0].started.astimezone(zone).date()
            if rank == 0 and _midnight(on(day, 1), zone) > now:
                continue
            end = _midnight(on(day, min(count - rank, most)), zone)
            found[moment.run] = max(end, found.get(moment.run, end))
    return found


def _midnight(day: date, zone: tzinfo | None) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(zone)


def _newest_of_each(
    moments: Sequence[Moment], period: Callable[[datetime, int], object], count: int, zone: tzinfo | None
) -> list[Moment]:
    found: list[Moment] = []
    last: object = None
    for number in reversed(range(len(moments))):
        if len(found) == count:
            break
        moment = moments[number]
        current = period(moment.started.astimezone(zone), number)
        if current != last or number == 0:
            found.append(moment)
        last = current
    return found
