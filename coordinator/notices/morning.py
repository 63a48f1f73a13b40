"""The look at a night that is over: from the records to a digest, and whether it was a good one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import islice
from pathlib import Path

from ...proto.errors import NotFoundError
from ...proto.records import RunId
from ...proto.structs import Record, field
from ..catalog import Catalog
from ..drills.shares import shares
from ..history import CopyStanding, GoodBackup, RunRecord, UnitRecord
from ..people.audit import AuditLog
from ..reasons import NO_FAULT
from ..scheduling.due import upcoming
from ..scheduling.entries import Entry, entries, named
from ..scheduling.timings import last_moment
from ..service.handled import HandledMoments
from ..service.notices import NoticeRecord
from ..service.operations import Operations
from ..service.proofs import Drill, Proofs, Untried
from ..service.records import Handled, Operation
from ..settings import Config
from .digest import (
    Coming,
    Digest,
    GroupBehind,
    GroupNight,
    Lasting,
    RunNight,
    Unreached,
)
from .records import URGENT
from .spaces import Spaces

_MOST_RUNS = 200
_MOST_OPERATIONS = 500
_COMING = 3
_MOST_WHY = 120


class _Backups(Record, kw_only=True):
    """What the catalog tells of a night; ``are_there``: there is one."""

    runs: Sequence[RunRecord] = ()
    units: Mapping[RunId, Sequence[UnitRecord]] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    good: Sequence[GoodBackup] = ()
    copies: CopyStanding = field(default_factory=CopyStanding)
    are_there: bool = False


def look_at_night(
    config: Config, spaces: Spaces, site: str, zone: tzinfo, since: datetime, until: datetime
) -> Digest:
    """The digest of what happened from ``since`` to ``until``, and of how things are now. Raises
    StagingError, DamagedError."""
    staging = config.staging.path
    record = NoticeRecord(staging)
    found = _backups(staging, since)
    runs = tuple(map(_run, found.runs))
    drills = [drill for drill in Proofs(staging).drills(_MOST_RUNS) if drill.ended and drill.ended >= since]
    audit = AuditLog(staging)
    ended = audit.end()
    return Digest(
        site=site,
        since=since,
        until=until,
        not_good=tuple(_not_good(config, zone, since, until, found.runs, drills)),
        runs=runs,
        groups=tuple(_groups(found)),
        reasons=found.reasons,
        behind=tuple(map(_behind, (backup for backup in found.good if backup.behind))),
        copied=bool(config.sweep.places),
        alone=found.copies.alone,
        alone_since=found.copies.alone_since,
        unswept=found.copies.unswept,
        unswept_since=found.copies.unswept_since,
        spaces=spaces.of(until),
        drilled=bool(drills),
        proven=sum(one.proven for one in drills),
        failed_drills=sum(one.failed for one in drills),
        proofs=shares(staging, until) if found.are_there and Proofs(staging).drills(1) else (),
        untried=why_untried(Proofs(staging).untried()),
        audit_end="" if ended is None else str(ended),
        audit_is_cut=audit.was_cut(since),
        lasting=tuple(
            Lasting(
                event=standing.notice.event,
                cause=standing.notice.cause,
                subject=standing.notice.subject,
                since=standing.first,
                acknowledged_by=standing.acknowledged_by,
            )
            for standing in record.lasting(URGENT)
        ),
        unreached=tuple(
            Unreached(receiver=channel.name, since=channel.failing_since, error=channel.error)
            for channel in record.channels()
            if channel.failing_since is not None
        ),
        coming=tuple(_coming(config, zone, until)),
    )


def why_untried(found: Iterable[Untried]) -> dict[str, str]:
    """The most frequent reason why nothing could be tried, by group, without the file that it was met in."""
    reasons: dict[str, Counter[str]] = {}
    for untried in found:
        line = " ".join(untried.error.partition("\n")[0].split())
        file, _, rest = line.partition(": ")
        why = rest if rest and "/" in file else line
        short = why if len(why) <= _MOST_WHY else f"{why[: _MOST_WHY - 1]}…"
        reasons.setdefault(f"{untried.partition}/{untried.group}", Counter())[short] += untried.mailboxes
    return {group: counts.most_common(1)[0][0] for group, counts in reasons.items()}


def _backups(staging: Path, since: datetime) -> _Backups:
    try:
        with Catalog.open(staging) as catalog:
            runs = [record for record in catalog.runs(_MOST_RUNS) if (record.ended or since) >= since]
            reasons: Counter[str] = Counter()
            for run in runs:
                reasons.update(catalog.reasons(run.run))
            return _Backups(
                runs=tuple(reversed(runs)),
                units={run_record.run: catalog.units(run_record.run) for run_record in runs},
                reasons={reason: many for reason, many in reasons.items() if reason not in NO_FAULT},
                good=catalog.last_good(),
                copies=catalog.copy_standing(),
                are_there=True,
            )
    except NotFoundError:
        return _Backups()  # no run was begun yet


def _run(record: RunRecord) -> RunNight:
    return RunNight(
        run=record.run,
        paths=record.paths or "/",
        state=record.state,
        seconds=(record.ended - record.started).total_seconds() if record.ended else 0.0,
        error=record.error,
    )


def _groups(found: _Backups) -> Iterator[GroupNight]:
    groups: dict[tuple[str, str], list[list[UnitRecord]]] = {}
    for run in found.runs:
        of_run: dict[tuple[str, str], list[UnitRecord]] = {}
        for unit in found.units[run.run]:
            of_run.setdefault((unit.partition, unit.group), []).append(unit)
        for key, units in of_run.items():
            groups.setdefault(key, []).append(units)
    standing = {(backup.partition, backup.group): backup.mailboxes for backup in found.good}
    for (partition, group), nights in sorted(groups.items()):
        last = nights[-1]
        undone = [record for record in last if record.state not in ("sealed", "unchanged")]
        yield GroupNight(
            partition=partition,
            group=group,
            mailboxes=standing.get((partition, group), sum(unit_record.mailboxes for unit_record in last)),
            added=sum(one.added for units in nights for one in units),
            new_bytes=sum(one.new_bytes for units in nights for one in units),
            seconds=sum(max(one.seconds for one in units) for units in nights),
            skipped=sum(one.skipped for one in last),
            failed=len(undone),
            error=next((one.error or "it was ended early" for one in undone), ""),
        )


def _behind(backup: GoodBackup) -> GroupBehind:
    return GroupBehind(
        partition=backup.partition,
        group=backup.group,
        mailboxes=backup.mailboxes,
        behind=backup.behind,
        never=backup.never,
        since=backup.sealed,
    )


def _coming(config: Config, zone: tzinfo, after: datetime) -> Iterator[Coming]:
    known, handled = entries(config.schedule), HandledMoments(config.staging.path).all()
    for due in islice(upcoming(known, handled, zone, after), _COMING) if known else ():
        what = f"{'full ' if due.full else ''}{due.entry.kind}"
        yield Coming(moment=due.moment, what=f"{what} of {due.entry.group}" if due.entry.group else what)


def _not_good(
    config: Config,
    zone: tzinfo,
    since: datetime,
    until: datetime,
    runs: Iterable[RunRecord],
    drills: Iterable[Drill],
) -> Iterator[str]:
    """Why a night was none that works the switch. A good one: each backup that was due has ended, and so have
    others that ran; of those over the same paths the last one failed in nothing (it may have left out single
    entries, which it lists); and no drill has failed."""
    due = [one for one in entries(config.schedule) if one.kind == "backup"]
    handled = HandledMoments(config.staging.path).all() if due else {}
    asked = [one for one in due if _was_due(one, handled.get(one.name), zone, since, until)]
    last = {(record.paths, record.options): record for record in runs}
    if not due and not last:
        yield "no backup ran"
    for run in last.values():
        if run.state == "running":
            yield f"the backup of {run.paths or '/'} is not done yet"
        elif run.state != "done":
            yield f"the backup of {run.paths or '/'} has ended as {run.state}"
    if asked:
        operations = Operations(config.staging.path).newest(_MOST_OPERATIONS)
        for entry in asked:
            yield from _not_ended(entry, since, operations, seen=entry.name in handled)
    for drill in drills:
        if drill.failed or drill.state == "failed":
            yield f"drill {drill.id} has failed"


def _was_due(entry: Entry, known: Handled | None, zone: tzinfo, since: datetime, until: datetime) -> bool:
    """Whether it was in the night, and after the entry had come into the schedule: what was handled lies
    behind its newest moment only if it begins there."""
    moment = last_moment(entry.all_times, zone, until)
    return moment is not None and moment > since and (known is None or known.moment <= moment)


def _not_ended(
    entry: Entry, since: datetime, operations: Iterable[Operation], *, seen: bool
) -> Iterator[str]:
    """Unless the newest operation of an entry that was due in the night has ended well. ``seen``: ``serve``
    has run with this entry."""
    for operation in operations:
        due = operation.request.due
        if entry.name in named(operation.request) and due is not None and due > since:
            if operation.state not in ("done", "partial"):
                yield f"the scheduled {entry.name} is {operation.state}"
            return
    why = "" if seen else ": `mailhaul serve` has not run with it yet"
    yield f"the scheduled {entry.name} was not begun{why}"
