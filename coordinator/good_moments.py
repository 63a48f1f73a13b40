"""Which moments are good to restore from: what a person should know of the one that was chosen, and the
newest of which nothing bad is known. Nothing is read anew: alarms are those that runs have raised, damage is
what verifications and sweeps have recorded.

An alarm stands at its own run, and at all later ones as long as what it holds is held: the mailbox may be as
empty in the night after.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from ..groups.paths import EVERYBODY, LogicalPath
from ..proto.errors import NotFoundError
from ..proto.records import ArchiveId, RunId, Skipped
from ..proto.structs import Record
from .catalog import Catalog
from .history import RunRecord
from .holds import Hold, read_holds
from .verifying.checked import Lacking, read_checked

LATEST_GOOD = "latest-good"
"""As a time: the newest moment of which nothing bad is known."""

_MASS_LOSSES = frozenset(("mailbox-emptied", "mailbox-shrunk", "folder-vanished", "mailboxes-gone"))


class PassedOver(Record, kw_only=True):
    """A moment that was not taken, why (one word), and details."""

    run: RunId
    reason: str
    detail: str


class ChosenMoment(Record, kw_only=True):
    """The moment of a restore. ``alarms`` stand at it and tell of much mail that was gone, and ``before`` is
    the newest moment at which none of them stood (None: there is none); ``passed_over`` are newer moments
    that were not good enough."""

    run: RunId
    alarms: tuple[Skipped, ...] = ()
    before: RunId | None = None
    passed_over: tuple[PassedOver, ...] = ()


def told_of(catalog: Catalog, staging: Path, run: RunId, paths: Sequence[LogicalPath]) -> ChosenMoment:
    """What is to be told of a moment as to these paths. Raises DamagedError, StagingError."""
    standing = _Alarms(catalog, staging, paths).standing(run)
    losses = [raised for raised in standing if raised.alarm.reason in _MASS_LOSSES]
    if not losses:
        return ChosenMoment(run=run)
    first = min(loss.run for loss in losses)
    before = next(
        (record.run for record in catalog.runs() if record.run < first and _is_moment(record)), None
    )
    return ChosenMoment(run=run, alarms=tuple(one.alarm for one in losses), before=before)


def latest_good(
    catalog: Catalog,
    staging: Path,
    paths: Sequence[LogicalPath],
    needs: Callable[[RunId], Collection[ArchiveId]],
) -> ChosenMoment:
    """The newest moment at which no alarm stands for these paths, each mailbox that they name was there, all
    of their mail was stored, and nothing of it is known to be damaged or gone. ``needs`` are the archives
    that it takes to restore a moment.

    Raises NotFoundError if there is none, DamagedError, StagingError.
    """
    alarms = _Alarms(catalog, staging, paths)
    lacking = [one for one in read_checked(staging).lacking if _concerns(LogicalPath.parse(one.path), paths)]
    missing = catalog.missing()
    passed_over: list[PassedOver] = []
    for record in filter(_is_moment, catalog.runs()):
        run = record.run
        why = next(
            chain(
                map(_alarmed, alarms.standing(run)),
                _not_whole(catalog, record, paths),
                _absent(catalog, run, paths),
                _damaged(lacking, run),
                _gone(needs, run, missing),
            ),
            None,
        )
        if why is None:
            return ChosenMoment(run=run, passed_over=tuple(passed_over))
        passed_over.append(PassedOver(run=run, reason=why[0], detail=why[1]))
    if not passed_over:
        raise NotFoundError("no run is kept")
    last = passed_over[0]
    raise NotFoundError(
        f"no moment is good: of {len(passed_over):,} that are kept none; the newest, {last.run}, is not, as "
        f"{last.detail}",
        time=LATEST_GOOD,
    )


_Why = tuple[str, str]


class _Raised(Record):
    """An alarm, and the run that raised it."""

    run: RunId
    alarm: Skipped


class _Alarms:
    """The alarms that concern some paths, and which of them are held to this day."""

    def __init__(self, catalog: Catalog, staging: Path, paths: Sequence[LogicalPath]) -> None:
        held = [hold for hold in read_holds(staging).all if hold.automatic and _concerns_hold(hold, paths)]
        self._raised: list[tuple[_Raised, bool]] = []
        for run, alarm in catalog.all_alarms():
            path = LogicalPath.parse(alarm.path)
            if not _concerns(path, paths):
                continue
            still_held = any(_meet(path, LogicalPath.parse(one.path or "/")) for one in held)
            self._raised.append((_Raised(run, alarm), still_held and alarm.reason in _MASS_LOSSES))

    def standing(self, run: RunId) -> list[_Raised]:
        """Those that stand at a moment, the oldest first."""
        return [raised for raised, held in self._raised if raised.run == run or (held and raised.run < run)]


def _is_moment(record: RunRecord) -> bool:
    return not record.purged and bool(record.sealed_units or record.unchanged_units)


def _alarmed(one: _Raised) -> _Why:
    return one.alarm.reason, f"run {one.run} raised an alarm for {one.alarm.path}: {one.alarm.detail}"


def _not_whole(catalog: Catalog, record: RunRecord, paths: Sequence[LogicalPath]) -> Iterator[_Why]:
    if record.state == "done":
        return
    for unit in catalog.units(record.run):
        if unit.state not in ("sealed", "unchanged") and _concerns(
            LogicalPath(unit.partition, unit.group), paths
        ):
            yield "not-whole", f"{unit.partition}/{unit.group} was not stored ({unit.error or record.state})"
            return
    for unlisted in catalog.unlisted(record.run):
        if _concerns(LogicalPath(unlisted.path), paths):
            yield "not-whole", f"partition {unlisted.path} was not stored ({unlisted.detail})"
            return


def _absent(catalog: Catalog, run: RunId, paths: Sequence[LogicalPath]) -> Iterator[_Why]:
    for path in paths:
        group = None if path.group == EVERYBODY else path.group
        if path.user is not None and not any(
            catalog.mailboxes_at(run, partition=path.partition, group=group, user=path.user, nearest=True)
        ):
            yield "absent", f"nothing of {path} is there then"


def _damaged(lacking: Iterable[Lacking], run: RunId) -> Iterator[_Why]:
    found = [one for one in lacking if one.holds_at(run)]
    if found:
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        yield "damaged", f"a verification found something of {found[0].path}{more} lost"


def _gone(
    needs: Callable[[RunId], Collection[ArchiveId]], run: RunId, missing: Collection[ArchiveId]
) -> Iterator[_Why]:
    found = [archive_id for archive_id in needs(run) if archive_id in missing] if missing else []
    if found:
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        yield "missing", f"archive {found[0].hex()}{more} is not there any more"


def _concerns_hold(hold: Hold, paths: Iterable[LogicalPath]) -> bool:
    return hold.path is not None and _concerns(LogicalPath.parse(hold.path), paths)


def _concerns(path: LogicalPath, paths: Iterable[LogicalPath]) -> bool:
    return any(_meet(path, logical_path) for logical_path in paths)


def _meet(path: LogicalPath, other: LogicalPath) -> bool:
    """Whether two paths may mean the same mailbox. Groups are views of the same mailboxes."""
    pairs = [(path.partition, other.partition), (path.user, other.user)]
    if EVERYBODY not in (path.group, other.group) and None in pairs[1]:
        pairs.append((path.group, other.group))
    return all(a is None or b is None or a == b for a, b in pairs)
