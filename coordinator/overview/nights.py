"""Nights: the runs of each day added up, with a verdict that can be taken in at a glance. Pure but for
``nights_between`` and ``look_at_last_night``, which ask the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from ...proto.structs import Record
from ..catalog.reading import CatalogReader
from ..history import GoodBackup, RunRecord
from ..scheduling.lateness import PlannedBackups
from ..texts import counted

Verdict = Literal["good", "fair", "bad", "running", "none"]
"""``good``: all that was asked for is stored. ``fair``: something was skipped, or there was an alarm.
``bad``: a run ended early, or mailboxes were not reached. ``none``: nothing ran."""

LATE = timedelta(hours=30)
"""After so long without a run the last night is missing, where no schedule says when one was due."""

_MOST_LATE = 5


class Night(Record, kw_only=True):
    """The runs that began on a day (ISO date, UTC), newest first, and their sums; ``why`` explains the
    verdict. ``seconds`` is how long the runs took together."""

    day: str
    verdict: Verdict
    why: str
    runs: tuple[RunRecord, ...] = ()
    seconds: float = 0.0
    mailboxes: int = 0
    messages: int = 0
    read: int = 0
    added: int = 0
    vanished: int = 0
    departed: int = 0
    new_bytes: int = 0
    archive_bytes: int = 0
    skipped: int = 0
    alarms: int = 0


class Nights(Record, kw_only=True):
    """Days that follow each other, oldest first, without gaps."""

    nights: tuple[Night, ...]


class LastNight(Record, kw_only=True):
    """How it stands: the ``night`` that ran last (None: there was none yet), and ``verdict``, in words for
    people in ``headline`` and ``lines``. Of the ``mailboxes`` that are there, ``behind`` were not stored
    whole by the newest run over them, ``never`` by any."""

    verdict: Verdict
    headline: str
    lines: tuple[str, ...] = ()
    night: Night | None = None
    mailboxes: int = 0
    behind: int = 0
    never: int = 0


def nights_between(catalog: CatalogReader, first: date, last: date) -> Nights:
    """The days from one to another, both included."""
    since = datetime.combine(first, time(), UTC)
    runs = catalog.runs_from(since, datetime.combine(last, time(), UTC) + timedelta(days=1))
    return Nights(nights=nights_of(runs, first, last))


def nights_of(runs: Iterable[RunRecord], first: date, last: date) -> tuple[Night, ...]:
    """Runs, oldest first, by the days on which they began."""
    by_day: dict[date, list[RunRecord]] = {}
    for run in runs:
        by_day.setdefault(run.started.astimezone(UTC).date(), []).append(run)
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return tuple(night_of(day, by_day.get(day, ())) for day in days)


def night_of(day: date, runs: Sequence[RunRecord]) -> Night:
    """The runs of a day, oldest first, added up. What a later run over the same paths has made good does not
    count against the night: it is ``fair`` then."""
    if not runs:
        return Night(day=day.isoformat(), verdict="none", why="nothing ran")
    counted_runs = [
        record for place, record in enumerate(runs) if not _is_made_good(record, runs[place + 1 :])
    ]
    verdicts = {_verdict(run) for run in counted_runs}
    verdict: Verdict = next(each for each in ("running", "bad", "fair", "good") if each in verdicts)
    why = [reason for counted_run in counted_runs for reason in _reasons(counted_run)]
    if made_good := len(runs) - len(counted_runs):
        verdict = "fair" if verdict == "good" else verdict
        why.append(f"{counted(made_good, 'attempt')} before it did not succeed")
    return Night(
        day=day.isoformat(),
        verdict=verdict,
        why="; ".join(why) or "everything was stored",
        runs=tuple(reversed(runs)),
        seconds=sum(
            (run_record.ended - run_record.started).total_seconds() for run_record in runs if run_record.ended
        ),
        mailboxes=sum(one.mailboxes for one in counted_runs),
        messages=sum(one.messages for one in counted_runs),
        read=sum(one.read for one in runs),
        added=sum(one.added for one in runs),
        vanished=sum(one.vanished for one in runs),
        departed=sum(one.departed for one in runs),
        new_bytes=sum(one.new_bytes for one in runs),
        archive_bytes=sum(one.archive_bytes for one in runs),
        skipped=sum(one.skipped for one in counted_runs),
        alarms=sum(one.alarms for one in runs),
    )


def look_at_last_night(
    catalog: CatalogReader, now: datetime, planned: PlannedBackups | None = None
) -> LastNight:
    """How it stands at a time (aware). Without what is ``planned``, where nobody has seen to that, or where
    the plan does not know of all groups, there should be a run each night."""
    newest = next(iter(catalog.runs(1)), None)
    if newest is None:
        return last_night(None, (), now, planned)
    day = newest.started.astimezone(UTC).date()
    (night,) = nights_between(catalog, day, day).nights
    return last_night(night, catalog.last_good(), now, planned)


def last_night(
    night: Night | None,
    good: Sequence[GoodBackup],
    now: datetime,
    planned: PlannedBackups | None = None,
) -> LastNight:
    """The same, of the day that ran last and the standing of the groups."""
    if night is None:
        return LastNight(verdict="none", headline="Nothing was backed up yet")
    mailboxes, behind, never = (
        sum(getattr(backup, name) for backup in good) for name in ("mailboxes", "behind", "never")
    )
    began = night.runs[0].started
    verdict, headline = night.verdict, _HEADLINES[night.verdict]
    lines = [] if verdict == "good" else [night.why]
    is_known = planned is not None and planned.are_known
    late = _late(good, planned, now) if planned and is_known and verdict != "running" else []
    is_planned = is_known and all(planned and planned.knows(backup.group) for backup in good)
    lines += late[:_MOST_LATE]
    if len(late) > _MOST_LATE:
        lines.append(f"so are {counted(len(late) - _MOST_LATE, 'other group')}")
    if late:
        verdict, headline = "bad", "A backup that was planned is lacking"
    elif now - began > LATE and verdict != "running" and not is_planned:
        verdict, headline = "bad", f"No backup since {began:%A, %d %B %Y}"
    if behind:
        verdict = "fair" if verdict == "good" else verdict
        lines.append(f"{counted(behind, 'mailbox', 'mailboxes')} of {mailboxes:,} could not be stored whole")
    if never:
        verdict = "fair" if verdict == "good" else verdict
        lines.append(f"{counted(never, 'mailbox was', 'mailboxes were')} never stored whole")
    if verdict == "fair":
        headline = _HEADLINES["fair"]
    return LastNight(
        verdict=verdict,
        headline=headline,
        lines=tuple(lines),
        night=night,
        mailboxes=mailboxes,
        behind=behind,
        never=never,
    )


_HEADLINES: dict[Verdict, str] = {
    "good": "The last night was good",
    "fair": "The last night was good but for a few things",
    "bad": "The last night was not good",
    "running": "A backup is under way",
    "none": "Nothing ran",
}


def _late(good: Iterable[GoodBackup], planned: PlannedBackups, now: datetime) -> list[str]:
    """Groups of which nothing was stored since that was planned; of others it is said that nothing ever
    was."""
    lines = []
    for backup in good:
        since = planned.wanted_since(backup.group, now)
        if since is not None and backup.newest is not None and backup.newest < since:
            lines.append(
                f"{backup.partition}/{backup.group} is late: nothing was stored since it was due on "
                f"{since.astimezone(UTC):%A, %d %B %Y, %H:%M} UTC"
            )
    return lines


def _verdict(run: RunRecord) -> Verdict:
    if run.state == "running":
        return "running"
    if run.state != "done" or run.failed_units:
        return "bad"
    return "fair" if run.skipped or run.alarms else "good"


def _reasons(run: RunRecord) -> Iterable[str]:
    if run.state in ("failed", "interrupted"):
        yield f"the run of {run.started:%H:%M} {_ENDS[run.state]}" + (f": {run.error}" if run.error else "")
    if run.failed_units:
        yield f"{counted(run.failed_units, 'unit')} of {run.planned_units:,} failed"
    elif run.state == "partial":
        yield f"the run of {run.started:%H:%M} stored only a part" + (f": {run.error}" if run.error else "")
    if run.skipped:
        yield f"{counted(run.skipped, 'entry', 'entries')} skipped"
    if run.alarms:
        yield counted(run.alarms, "alarm")
    if run.state == "running":
        yield f"a run goes on since {run.started:%H:%M}"


_ENDS = {"failed": "failed", "interrupted": "was interrupted"}


def _is_made_good(run: RunRecord, later: Iterable[RunRecord]) -> bool:
    """Whether a later run stored all that this one was to store, and did not."""
    return run.state in ("partial", "failed", "interrupted") and any(
        record.state == "done" and not record.narrowed and record.paths in (run.paths, "/", "")
        for record in later
    )
