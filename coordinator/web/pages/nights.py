"""*Nights*: how the last night was, a calendar of all, their trends, and each run with what it left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from starlette.responses import Response

from ....proto.errors import NotFoundError, UsageError
from ....proto.records import RunId
from ....proto.structs import Record
from ...catalog import Catalog
from ...clock import RUN_ID
from ...overview.nights import LastNight, Night, Nights, Verdict, look_at_last_night, nights_between
from ...overview.plots import Bar, bars
from ...overview.runs import (
    RunDetails,
    RunList,
    RunUnits,
    SkippedEntries,
    listed_runs,
    run_details,
    run_list,
    run_units,
    skipped_entries,
)
from ...scheduling.lateness import PlannedBackups
from ...service.handled import HandledMoments
from ...texts import number, size
from ..routes import VIEWER, Page, Resource
from ..visits import Visit

MONTHS = 13
SPANS = (30, 90, 365)
"""The months in the overview; over how many days trends are drawn."""

_LONG_SECONDS = 300
_MOST_DAYS = 800
_MOST_MONTHS = 240
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)


class DaysAsked(Record, kw_only=True):
    """From the first day to the last (ISO dates, UTC): by default the last 90."""

    first: date | None = None
    last: date | None = None


class RunsAsked(Record, kw_only=True):
    """Those before a run; without it the newest."""

    before: str = ""


class EntriesAsked(Record, kw_only=True):
    """Those behind an entry; without it the first."""

    behind: int = 0


class Month(Record, kw_only=True):
    """A month of the calendar: its nights by weeks that begin on Monday, None where a day is of another month
    or is still to come."""

    name: str
    title: str
    weeks: tuple[tuple[Night | None, ...], ...]
    counts: Counter[Verdict]

    @property
    def nights(self) -> Iterator[Night]:
        """Its days, in order."""
        return (night for week in self.weeks for night in week if night is not None)


# Data


def nights(visit: Visit) -> Nights:
    """The nights that are asked for."""
    last = visit.query.last or _today(visit)
    first = visit.query.first or max(last, _FIRST_DAY) - timedelta(days=SPANS[1] - 1)
    if not _FIRST_DAY <= first <= last <= _LAST_DAY or (last - first).days >= _MOST_DAYS:
        raise UsageError(f"at most {_MOST_DAYS} days at once, the first before the last")
    with Catalog.open(visit.site.staging) as catalog:
        return nights_between(catalog, first, last)


def last_night(visit: Visit) -> LastNight:
    """How it stands."""
    with Catalog.open(visit.site.staging) as catalog:
        return look_at_last_night(catalog, visit.site.now(), _planned(visit))


def runs(visit: Visit) -> RunList:
    """A page of the runs."""
    before = visit.query.before
    if before and not RUN_ID.fullmatch(before):
        raise UsageError(f"{before!r} is no run id")
    with Catalog.open(visit.site.staging) as catalog:
        return run_list(catalog, RunId(before) if before else None)


def run(visit: Visit) -> RunDetails:
    """The run that the address names."""
    with Catalog.open(visit.site.staging) as catalog:
        return run_details(catalog, visit.site.staging, visit.named("run"))


def units(visit: Visit) -> RunUnits:
    """Its units."""
    behind = visit.query.behind
    if not 0 <= behind < 10**18:
        raise UsageError("the number of a unit is expected")
    with Catalog.open(visit.site.staging) as catalog:
        return run_units(catalog, visit.named("run"), behind)


def skipped(visit: Visit) -> SkippedEntries:
    """What it left out."""
    with Catalog.open(visit.site.staging) as catalog:
        return skipped_entries(catalog, visit.named("run"), visit.query.behind)


# Pages


def nights_page(visit: Visit) -> Response:
    """The last night, the calendar, the trends."""
    today = _today(visit)
    span = int(visit.asked("days")) if visit.asked("days") in map(str, SPANS) else SPANS[1]
    shown = _month(visit.asked("month"), today)
    first = min(shown, _months_back(today, MONTHS - 1), today - timedelta(days=span - 1))
    try:
        with Catalog.open(visit.site.staging) as catalog:
            found = nights_between(catalog, first, today).nights
            last = look_at_last_night(catalog, visit.site.now(), _planned(visit))
            oldest = catalog.oldest_run()
    except NotFoundError:  # there is no catalog before the first run
        return visit.page("nights_none.html")
    since = f"{oldest[:4]}-{oldest[4:6]}-{oldest[6:8]}" if oldest else today.isoformat()
    months = [month_of(found, _months_back(today, back), since, today.isoformat()) for back in range(MONTHS)]
    return visit.page(
        "nights.html",
        last=last,
        month=month_of(found, shown, since, today.isoformat()),
        since=since,
        today=today.isoformat(),
        before=f"{_months_back(shown, 1):%Y-%m}" if oldest and oldest[:6] < f"{shown:%Y%m}" else "",
        after=f"{_months_back(shown, -1):%Y-%m}" if shown < today.replace(day=1) else "",
        months=[month for month in months if month.counts.total() > month.counts["none"]],
        days=span,
        spans=SPANS,
        trend=found[-span:],
        plots=trends(found[-span:]),
    )


def night_page(visit: Visit) -> Response:
    """One night."""
    day = _day(visit.named("day"))
    with Catalog.open(visit.site.staging) as catalog:
        (night,) = nights_between(catalog, day, day).nights
        found = listed_runs(catalog, night.runs)
    today = _today(visit)
    return visit.page(
        "night.html",
        night=night,
        day=day,
        runs=found,
        before=day - timedelta(days=1),
        after=day + timedelta(days=1) if day < today else None,
    )


def run_page(visit: Visit) -> Response:
    """One run, a page of its units, and a page of what it left out."""
    behind, units_behind = visit.asked("behind", "0"), visit.asked("units", "0")
    if not all(number.isdecimal() and len(number) < 19 for number in (behind, units_behind)):
        raise UsageError("the number of an entry is expected")
    name = visit.named("run")
    with Catalog.open(visit.site.staging) as catalog:
        details = run_details(catalog, visit.site.staging, name)
        entries = skipped_entries(catalog, details.run.run, int(behind))
        shown = run_units(catalog, details.run.run, int(units_behind))
    return visit.page(
        "run.html",
        details=details,
        run=details.run,
        entries=entries,
        behind=int(behind),
        units=shown,
        units_behind=int(units_behind),
    )


# Within


def trends(found: Sequence[Night]) -> list[str]:
    """New mail, what of it had to be written, and how long it took: each as a plot."""

    def plot(name: str, title: str, value: Callable[[Night], float], in_words: Callable[[float], str]) -> str:
        values = [
            Bar(
                label=f"{date.fromisoformat(night.day):%d %b}",
                value=value(night),
                hint=f"{night.day}: {in_words(value(night))}",
                kind="bar bad" if night.verdict == "bad" else "bar",
            )
            for night in found
        ]
        highest = max(found, key=value, default=None)
        told = f"most on {highest.day}: {in_words(value(highest))}" if highest else "nothing yet"
        return bars(name, title, f"{title}, by night, {len(found)} days; {told}", values, in_words)

    unit, name = (60, "min") if any(one.seconds > _LONG_SECONDS for one in found) else (1, "s")
    return [
        plot("new", "New mail, bytes", lambda one: one.new_bytes, lambda count: size(round(count))),
        plot("read", "New mail, messages", lambda one: one.read, lambda count: number(round(count))),
        plot("archives", "Archives written", lambda one: one.archive_bytes, lambda count: size(round(count))),
        plot(
            "took", "Time that it took", lambda one: one.seconds / unit, lambda count: f"{count:,.0f} {name}"
        ),
    ]


def month_of(found: Sequence[Night], first: date, since: str, before: str) -> Month:
    """A month, by its first day, of nights that hold it as far as it has come. That nothing ran counts
    ``since`` the day of the first run, and ``before`` today."""
    mine = [night for night in found if night.day.startswith(f"{first:%Y-%m}")]
    cells: list[Night | None] = [*[None] * first.weekday(), *mine] if mine else []
    cells += [None] * (-len(cells) % 7)
    return Month(
        name=f"{first:%Y-%m}",
        title=f"{first:%B %Y}",
        weeks=tuple(tuple(cells[at : at + 7]) for at in range(0, len(cells), 7)),
        counts=Counter(one.verdict for one in mine if since <= one.day < before or one.runs),
    )


def _planned(visit: Visit) -> PlannedBackups:
    site = visit.site
    return PlannedBackups(site.config, HandledMoments(site.staging).all(), site.zone)


def _today(visit: Visit) -> date:
    return visit.site.now().astimezone(UTC).date()


def _month(text: str, today: date) -> date:
    """The first day of the month that is named, or of this one."""
    try:
        found = datetime.strptime(text, "%Y-%m").date() if text else today.replace(day=1)
    except ValueError:
        raise UsageError(f"{text!r} is no month: expected YYYY-MM") from None
    return min(max(found, _months_back(today, _MOST_MONTHS)), today.replace(day=1))


def _months_back(day: date, months: int) -> date:
    """The first day of the month so many before that of a day."""
    count = day.year * 12 + day.month - 1 - months
    return date(count // 12, count % 12 + 1, 1)


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise NotFoundError(f"{text!r} is no day: expected YYYY-MM-DD") from None
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise NotFoundError(f"{text} is out of range")
    return day


ROUTES = (
    Page(path="/nights", shows=nights_page, allows=VIEWER, menu="Nights"),
    Page(path="/nights/{day}", shows=night_page, allows=VIEWER),
    Page(path="/runs/{run}", shows=run_page, allows=VIEWER),
    Resource(
        path="/nights",
        answers=nights,
        allows=VIEWER,
        summary="The runs of each day, added up",
        query=DaysAsked,
        answer=Nights,
    ),
    Resource(
        path="/last-night",
        answers=last_night,
        allows=VIEWER,
        summary="How the last night was",
        answer=LastNight,
    ),
    Resource(
        path="/runs",
        answers=runs,
        allows=VIEWER,
        summary="Runs, the newest first",
        query=RunsAsked,
        answer=RunList,
    ),
    Resource(
        path="/runs/{run}",
        answers=run,
        allows=VIEWER,
        summary="One run: its id, latest, or a time",
        answer=RunDetails,
    ),
    Resource(
        path="/runs/{run}/units",
        answers=units,
        allows=VIEWER,
        summary="The units of a run, in pages",
        query=EntriesAsked,
        answer=RunUnits,
    ),
    Resource(
        path="/runs/{run}/skipped",
        answers=skipped,
        allows=VIEWER,
        summary="What a run left out, in pages",
        query=EntriesAsked,
        answer=SkippedEntries,
    ),
)
