"""What people hear of a run: that it began, how it ended, what looks like a loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ...proto.errors import BackupError, NotFoundError
from ...proto.records import RunId, Skipped
from ...proto.structs import Record
from ..catalog import Catalog
from ..history import RunRecord, RunState
from ..observers import RunObserver
from ..reasons import NO_FAULT
from ..texts import counted, duration, size
from .conditions import held_for
from .raising import over, raise_notice
from .records import Notice

_LISTED = 20


class RunEnd(Record, kw_only=True):
    """How a run ended: its record, what failed in it (path, reason, detail), what it left out by reason, all
    its alarms, also those of before it was resumed, and how many mailboxes are ``held`` for them."""

    record: RunRecord
    failed: tuple[Skipped, ...]
    reasons: Mapping[str, int]
    alarms: tuple[Skipped, ...]
    held: int


class RunNotices(RunObserver):
    """Puts on record what people should hear of a run. What can't be put on record is told to
    ``unrecorded``, and the run goes on. One that is ``resumed`` by itself is not over when it is
    interrupted, and nothing is heard of that."""

    def __init__(
        self,
        staging: Path,
        now: Callable[[], datetime],
        unrecorded: Callable[[str], object],
        *,
        resumed: bool = False,
    ) -> None:
        self._resumed = resumed
        self._staging = staging
        self._now = now
        self._unrecorded = unrecorded
        self._run: RunId | None = None

    def begun(self, run: RunId) -> None:
        """See RunObserver."""
        self._run = run
        self._recorded(lambda: self._raise(began(run)))

    def ended(self, state: RunState, error: BaseException | None = None) -> None:  # noqa: ARG002
        """See RunObserver."""
        run = self._run
        if run is not None and not (self._resumed and state == "interrupted"):
            self._recorded(lambda: self._tell(run))

    def _tell(self, run: RunId) -> None:
        end = read_end(self._staging, run)
        found = {one.cause: one for one in told_of(end)}
        # One that failed may have left something out, too: only a run that was done to its end ends that.
        for cause in causes_of(end.record) if end.record.state == "done" else ():
            if cause not in found:
                over(self._staging, cause, self._now())
        for notice in found.values():
            self._raise(notice)

    def _raise(self, notice: Notice) -> None:
        raise_notice(self._staging, notice, self._now())

    def _recorded(self, record: Callable[[], object]) -> None:
        try:
            record()
        except BackupError as error:
            self._unrecorded(f"nobody is told of this run: {error.message}")


def read_end(staging: Path, run: RunId) -> RunEnd:
    """How a run ended. Raises NotFoundError, StagingError, DamagedError."""
    with Catalog.open(staging) as catalog:
        units = [
            Skipped(f"/{unit.partition}/{unit.group}", "failed", unit.error)
            for unit in catalog.units(run)
            if unit.state == "failed"
        ]
        unlisted = [Skipped(f"/{skip.path}", skip.reason, skip.detail) for skip in catalog.unlisted(run)]
        return RunEnd(
            record=catalog.run(run),
            failed=(*unlisted, *units),
            reasons=catalog.reasons(run),
            alarms=catalog.alarms(run),
            held=len(held_for(staging, run)),
        )


def began(run: RunId) -> Notice:
    """That a run began."""
    return Notice(
        event="started", cause=f"started:{run}", subject=f"Backup {run} has begun", facts={"run": run}
    )


def told_of(end: RunEnd) -> Iterator[Notice]:
    """What people hear of a run that has ended."""
    record = end.record
    what = f"Backup of {record.paths or '/'}"
    figures = _figures(record)
    facts = {
        "run": record.run,
        "state": record.state,
        "paths": record.paths,
        "messages": record.messages,
        "skipped": record.skipped,
        "alarms": len(end.alarms),
    }
    failed, skipped = causes_of(record)
    if record.state != "done":
        reason = "was interrupted" if record.state == "interrupted" else "failed"
        part = " in part" if record.state == "partial" else ""
        lines = [*_failures(end), "", *figures, f"`mailhaul runs {record.run}` shows all of it"]
        if record.state in ("interrupted", "partial"):
            lines.append(f"`mailhaul backup --resume {record.run}` goes on with what is left")
        yield Notice(
            event="failed", cause=failed, subject=f"{what} {reason}{part}", lines=tuple(lines), facts=facts
        )
    left_out = {reason: many for reason, many in end.reasons.items() if reason not in NO_FAULT}
    if left_out:
        count = counted(sum(left_out.values()), "entry", "entries")
        yield Notice(
            event="skipped",
            cause=skipped,
            subject=f"{what} left out {count}",
            lines=(
                *(f"{reason}: {many:,}" for reason, many in Counter(left_out).most_common()),
                f"`mailhaul runs {record.run} --skipped` lists them",
                "",
                *figures,
            ),
            facts={**facts, "reasons": left_out},
        )
    elif record.state == "done":
        yield Notice(
            event="finished",
            cause=f"finished:{record.run}:{record.ended}",
            subject=f"{what} is done",
            lines=tuple(figures),
            facts=facts,
        )
    if end.alarms:
        yield _alarm(end)


def causes_of(record: RunRecord) -> tuple[str, str]:
    """The causes of failures and of what is left out: the same for all runs of the same paths and options,
    so that a good one ends them."""
    asked = f"backup {record.paths or '/'} {record.options}".strip()
    return f"failed:{asked}", f"skipped:{asked}"


def backup_began(staging: Path, arguments: Sequence[str], run: RunId, now: datetime) -> None:
    """A backup that was asked for with these arguments has begun a run, which tells of itself: that the same
    could not begin is over. Raises as ``raise_notice``."""
    cause = f"failed:{' '.join(('backup', *arguments))}"
    with suppress(NotFoundError):
        with Catalog.open(staging) as catalog:
            theirs = causes_of(catalog.run(run))
        if cause not in theirs:
            over(staging, cause, now)


def _alarm(end: RunEnd) -> Notice:
    record, alarms = end.record, end.alarms
    first = alarms[0]
    more = f" and {len(alarms) - 1:,} more" if len(alarms) > 1 else ""
    return Notice(
        event="alarm",
        cause=f"alarm:{record.run}",
        subject=f"ALARM: {first.path}: {first.reason}{more}",
        lines=(
            *_listed([f"{alarm.path}: {alarm.detail}" for alarm in alarms]),
            "",
            "Mailboxes that look like a loss are held: nothing of them is purged until somebody has looked",
            "and released them (`mailhaul hold` lists them, `mailhaul release PATH` lets them go).",
        ),
        facts={
            "run": record.run,
            "held": end.held,
            "alarms": [list(_texts(skip)) for skip in alarms[:_LISTED]],
        },
    )


def _texts(skipped: Skipped) -> tuple[str, str, str]:
    return skipped.path, skipped.reason, skipped.detail


def _failures(end: RunEnd) -> list[str]:
    lines = _listed([f"{skip.path}: {skip.detail or skip.reason}" for skip in end.failed])
    return lines or [end.record.error or f"the run is {end.record.state}"]


def _figures(record: RunRecord) -> list[str]:
    seconds = (record.ended - record.started).total_seconds() if record.ended else 0.0
    stored = record.sealed_units + record.unchanged_units
    mailboxes = counted(record.mailboxes, "mailbox", "mailboxes")
    mail = f"{counted(record.messages, 'message')}, {record.added:,} new"
    units = f"{stored:,} of {counted(record.planned_units, 'unit')} stored"
    return [
        f"{mailboxes}, {mail}; {size(record.archive_bytes)} of archives",
        f"{units}, in {duration(seconds)}, run {record.run}",
    ]


def _listed(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _LISTED:,} more"] if len(lines) > _LISTED else []
    return [*lines[:_LISTED], *more]
