"""What a sweep is to do, decided from what is recorded of archives and their copies. Pure.

A copy is ``copied`` when its place said that it is durable, and counts (``kept``) when it was still there
at a later look. An archive has its copies when one counts at every destination that the rules of its group
name, in the generation that the archive is in now; where they name none, one that counts anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import MAXYEAR, datetime, timedelta

from ...groups.paths import LogicalPath
from ...proto.records import CONFIRMED, STAGING, ArchiveId, Location, RunId
from ...proto.structs import Record
from ...worker.archives.names import archive_name, generation_name
from ..history import ArchiveRecord, CopyRecord, Discarded
from ..settings import SweepRules

LONGEST_AGO = timedelta(days=1)
"""A copy for which staging space is freed was looked at no longer ago than this."""

LOOK_EVERY = timedelta(days=7)
"""Copies that count are looked for so often, without being read."""


class Wanted(Record, kw_only=True):
    """An archive that is to have a copy called ``name`` at a destination, and where its bytes are taken from.
    ``checksum`` is that of the copies that it has, empty while there is none. ``lost`` are the versions of
    those that the destination had. The new one is to be locked until ``lock_until``."""

    record: ArchiveRecord
    destination: str
    name: str
    source: Location
    checksum: bytes
    lost: tuple[str, ...] = ()
    lock_until: datetime | None = None


def selected(records: Iterable[ArchiveRecord], path: LogicalPath) -> Iterator[ArchiveRecord]:
    """The archives of the groups that a path selects."""
    return (
        record
        for record in records
        if path.selects_partition(record.partition) and path.selects_group(record.group)
    )


def wanted(
    records: Iterable[ArchiveRecord],
    rules_of: Callable[[str], SweepRules],
    sources: Sequence[str],
    slow: Collection[str],
    now: datetime,
) -> Iterator[Wanted]:
    """The copies that the rules ask for and that there are not, in the order of the archives: the oldest
    first. What lies neither in the staging area nor at one of these ``sources`` is not among them. What is
    at a ``slow`` one only is read there once: it goes to one destination, from which a later sweep takes it
    to the others."""
    for record in records:
        rules = rules_of(record.group)
        source = source_of(record, sources)
        if source is None or _age(record, now) < timedelta(seconds=rules.after_seconds):
            continue
        for destination in rules.copies:
            if not has_copy(record, destination):
                yield Wanted(
                    record=record,
                    destination=destination,
                    name=name_in_places(record),
                    source=source,
                    checksum=known_checksum(record),
                    lost=tuple(
                        copy_record.version
                        for copy_record in _current(record)
                        if copy_record.place == destination
                    ),
                )
                if source.place in slow:
                    break


def out_of_reach(
    records: Iterable[ArchiveRecord], rules_of: Callable[[str], SweepRules], sources: Sequence[str]
) -> Mapping[str, int]:
    """By destination, how many archives are to have a copy there and can't be copied: none of their copies
    counts in the staging area or at one of these ``sources``, though one does elsewhere."""
    found: Counter[str] = Counter()
    for record in records:
        if source_of(record, sources) is None and counting(record):
            found.update(copy for copy in rules_of(record.group).copies if not has_copy(record, copy))
    return found


def only(destination: str) -> Callable[[str], SweepRules]:
    """The rules of a sweep to one destination, at once, whatever is configured."""
    return lambda _group: SweepRules(copies=(destination,))


def name_in_places(record: ArchiveRecord) -> str:
    """What the copies of an archive are called, also where somebody renamed its file."""
    name = archive_name(record.partition, record.group, record.run, record.shard, record.archive)
    return generation_name(name, record.generation)


def source_of(record: ArchiveRecord, sources: Sequence[str]) -> Location | None:
    """Where the bytes of an archive are taken from: the staging area, else the first of these places at which
    a copy counts."""
    staged = staged_copy(record)
    if staged is not None:
        return Location(STAGING, staged.name)
    away = [
        copy_record
        for copy_record in _current(record)
        if copy_record.place in sources and copy_record.state == "kept"
    ]
    best = min(away, key=lambda one: sources.index(one.place), default=None)
    return None if best is None else Location(best.place, best.name, best.version, best.size_bytes)


def staged_copy(record: ArchiveRecord) -> CopyRecord | None:
    """What lies of an archive in the staging area."""
    return next((copy for copy in record.copies if copy.place == STAGING and copy.state != "lost"), None)


def known_checksum(record: ArchiveRecord) -> bytes:
    """What all copies of an archive must have; empty where that is not known yet."""
    sums = (copy.checksum for copy in record.copies if copy.generation == record.generation)
    return next(filter(None, sums), b"")


def has_copy(record: ArchiveRecord, place: str) -> bool:
    """Whether a place was given a copy, and has not lost it as far as is known."""
    return any(copy_record.place == place and copy_record.state != "lost" for copy_record in _current(record))


def counting(record: ArchiveRecord) -> frozenset[str]:
    """The destinations at which a copy counts."""
    return frozenset(
        copy_record.place
        for copy_record in _current(record)
        if copy_record.place != STAGING and copy_record.state == "kept"
    )


def counts_in_reach(record: ArchiveRecord, places: Collection[str]) -> bool:
    """Whether a copy counts at one of these places, or where another program keeps it: not only at a place
    that was taken out of the configuration, from which no restore would read it."""
    return not counting(record).isdisjoint({*places, CONFIRMED})


def has_its_copies(record: ArchiveRecord, rules: SweepRules) -> bool:
    """Whether an archive has all copies that it needs to leave the staging area."""
    there = counting(record)
    return bool(there) and there.issuperset(rules.copies)


def due_looks(
    records: Iterable[ArchiveRecord], places: Collection[str], look_again_seconds: float, now: datetime
) -> Iterator[tuple[ArchiveId, CopyRecord]]:
    """The copies at these places that are to be looked for: those that do not count yet, in time, the others
    now and then."""
    again = timedelta(seconds=look_again_seconds)
    for record in records:
        for copy in record.copies:
            if copy.place not in places or copy.state == "lost":
                continue
            last = copy.copied if copy.state == "copied" else copy.verified
            if last is None or now - last >= (again if copy.state == "copied" else LOOK_EVERY):
                yield record.archive, copy


def stale_looks(
    records: Iterable[ArchiveRecord], places: Collection[str], now: datetime
) -> Iterator[tuple[ArchiveId, CopyRecord]]:
    """The copies of these archives that count, and were looked at too long ago to free staging for them."""
    for record in records:
        for copy in _current(record):
            fresh = copy.verified is not None and now - copy.verified <= LONGEST_AGO
            if copy.place in places and copy.state == "kept" and not fresh:
                yield record.archive, copy


def was_looked_at(record: ArchiveRecord, rules: SweepRules, places: Collection[str], now: datetime) -> bool:
    """Whether the copies that an archive needs were looked at lately, as far as they are at these places:
    what somebody else keeps nobody can look at."""
    needed = frozenset(rules.copies) or counting(record)
    return not any(copy.place in needed for _, copy in stale_looks([record], places, now))


def outdated(
    records: Iterable[ArchiveRecord], rules_of: Callable[[str], SweepRules]
) -> Iterator[tuple[ArchiveId, CopyRecord]]:
    """The copies of what an archive was before it was written anew, once it has its copies as it is now."""
    for record in records:
        if has_its_copies(record, rules_of(record.group)):
            for copy in record.copies:
                if copy.place != STAGING and copy.generation != record.generation:
                    yield record.archive, copy


def may_go(discarded: Discarded, now: datetime) -> bool:
    """Whether a place is to be asked to remove a copy: not while it is known to be locked until a day that
    comes. A lock without an end somebody may have ended."""
    until = discarded.locked_until
    return until is None or until <= now or until.year == MAXYEAR


def freeable(
    records: Sequence[ArchiveRecord],
    rules_of: Callable[[str], SweepRules],
    now: datetime,
    short_bytes: int,
    held: Callable[[ArchiveRecord], bool],
) -> list[ArchiveRecord]:
    """The archives whose staging space is to be freed, oldest first: those that were kept there long enough;
    and while that is less than ``short_bytes``, others, those of the newest runs last.

    None that lacks a copy, none that is held.
    """
    newest = _newest_runs(records)
    free: list[ArchiveRecord] = []
    early: list[ArchiveRecord] = []
    last: list[ArchiveRecord] = []
    for record in sorted(records, key=lambda one: one.run):
        rules = rules_of(record.group)
        if staged_copy(record) is None or not has_its_copies(record, rules) or held(record):
            continue
        if rules.keep_newest and record.run == newest[record.partition, record.group]:
            last.append(record)
        elif rules.keep_staged_seconds is not None and _staged_for(record, now) >= timedelta(
            seconds=rules.keep_staged_seconds
        ):
            free.append(record)
        else:
            early.append(record)
    freed_bytes = sum(archive_record.size_bytes for archive_record in free)
    for record in (*early, *last):
        if freed_bytes >= short_bytes:
            break
        free.append(record)
        freed_bytes += record.size_bytes
    return free


def _newest_runs(records: Iterable[ArchiveRecord]) -> Mapping[tuple[str, str], RunId]:
    newest: dict[tuple[str, str], RunId] = {}
    for record in records:
        scope = record.partition, record.group
        newest[scope] = max(newest.get(scope, record.run), record.run)
    return newest


def _current(record: ArchiveRecord) -> Iterator[CopyRecord]:
    return (copy for copy in record.copies if copy.generation == record.generation)


def _staged_for(record: ArchiveRecord, now: datetime) -> timedelta:
    """How long an archive has been in the staging area: since it was sealed, or since it came back, as
    somebody wanted it here."""
    copy = staged_copy(record)
    if copy is None or copy.copied is None:
        return _age(record, now)
    return min(_age(record, now), max(now - copy.copied, timedelta()))


def _age(record: ArchiveRecord, now: datetime) -> timedelta:
    """How long ago an archive was sealed; of one that does not tell, long enough. A clock that was set back
    holds nothing up."""
    return timedelta.max if record.sealed is None else max(now - record.sealed, timedelta())
