"""The steps of a sweep at its destinations, in the order that makes a crash harmless at any time: what a
place made durable is recorded after that, and so is what it removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ...proto.errors import BackupError, DamagedError, NotFoundError, NotYetError, is_damage
from ...proto.ports import ProgressSink, Task
from ...proto.records import STAGING, ArchiveId, Location, Skipped
from ...proto.structs import Record, replace
from ...worker.archives.ports import Copy
from ...worker.destinations.registry import open_destination
from ...worker.destinations.settings import Destination, TapeDestination, lock_ahead
from ...worker.staging.area import StagingArea
from ...worker.sweeping.parcels import Delivery, Locking, Look, Parcel, Removal
from ...worker.tasks.sweeping import (
    DeliveryTask,
    ListTask,
    LockTask,
    LookTask,
    Manners,
    NamesTask,
    RemovalTask,
    run_delivery,
    run_list,
    run_lock,
    run_look,
    run_names,
    run_removal,
)
from ..catalog import Catalog
from ..dispatch.engine import Engine, Outcome
from ..erasing.progress import first_clean_snapshot
from ..history import CopyRecord, seen_at
from .beside import (
    locks_beside,
    note_locks_beside,
    old_sidecars,
    old_snapshots,
    outdated_beside,
    to_lock,
)
from .companions import PREFIXES, Companion
from .lanes import batches, lanes_of
from .lock_terms import DueLock
from .policy import Wanted
from .report import DestinationReport, SweepObserver

_LOCKS_IN_ONE = 500
"""So many copies are locked by one task, and recorded then."""

_DROPPED = "it was locked, and its place does not tell of that lock any more"

ReportT = TypeVar("ReportT")
TaskT = TypeVar("TaskT", bound=Task)

MakeEngine = Callable[[Sequence[str]], Engine]
"""An engine with these lanes."""


def nothing_done(
    function: Callable[[Any, ProgressSink], ReportT],  # noqa: ARG001 (an Engine)
    tasks: Sequence[TaskT],  # noqa: ARG001
    on_progress: ProgressSink,  # noqa: ARG001
) -> Iterator[Outcome[TaskT, ReportT]]:
    """The engine of who only plans."""
    return iter(())


class _File(Record, kw_only=True):
    """A parcel, and its size."""

    parcel: Parcel
    size_bytes: int


class Steps:
    """The steps of one sweep; whoever takes them holds the locks of the ``destinations``. What is not staged
    is copied from ``sources``. ``now`` tells the time."""

    def __init__(
        self,
        staging: Path,
        destinations: Iterable[Destination],
        sources: Iterable[Destination],
        streams: int | None,
        manners: Manners,
        make_engine: MakeEngine,
        now: Callable[[], datetime],
        observer: SweepObserver,
    ) -> None:
        self._staging = staging
        self._sources = {source.name: source for source in sources}
        self._places = (StagingArea(path=str(staging)), *self._sources.values())
        self._destinations = {destination.name: destination for destination in destinations}
        self._lanes = {one.name: lanes_of(one, streams) for one in self._destinations.values()}
        self._engine = make_engine([lane for lanes in self._lanes.values() for lane in lanes])
        self._manners = manners
        self._now = now
        self._observer = observer
        self.reports = {name: DestinationReport(name=name) for name in self._destinations}
        self.aheads = {
            one.name: ahead for one in self._destinations.values() if (ahead := lock_ahead(one)) is not None
        }
        self._beside: dict[str, set[str]] = {}
        self._just_put: dict[str, set[str]] = {name: set() for name in self._destinations}
        self.damaged: dict[str, Skipped] = {}

    def look(self, copies: Iterable[tuple[ArchiveId, CopyRecord]]) -> None:
        """Look for copies where they should be: those that are there count from now on, the others are
        lost."""
        by_place: dict[str, dict[Location, tuple[ArchiveId, CopyRecord]]] = {}
        for archive, copy in copies:
            where = Location(copy.place, copy.name, copy.version, copy.size_bytes)
            by_place.setdefault(copy.place, {})[where] = archive, copy
        tasks = [
            LookTask(**self._at(name), copies=tuple(found), singly=name in self.aheads)
            for name, found in self._at_open(by_place).items()
        ]
        for name, told in self._done(run_look, tasks):
            if isinstance(told, BackupError):
                self._stop(name, told)
                continue
            self._record_look(name, told, by_place[name])

    def copy(self, wanted: Iterable[Wanted], files: Sequence[Companion]) -> None:
        """Copy archives, but for those on tape only, and the files that go with them as far as they are not
        there. What is durable at its place is recorded, batch by batch."""
        by_place: dict[str, list[_File]] = {name: [] for name in self._destinations}
        for wish in wanted:
            if not self._is_on_tape(wish):
                by_place[wish.destination].append(_archive_file(wish))
        for name, there in self._names().items():
            self._beside[name] = set(there)
            by_place[name] += [_companion_file(file) for file in files if file.name not in there]
        self._deliver(self._at_open(by_place), self._lanes)

    def copy_from_tape(self, wanted: Iterable[Wanted]) -> None:
        """The same for archives that lie on tape only, from one pool to one place at a time; nobody else may
        be using the drives for this sweep."""
        from_tape: dict[tuple[str, str], list[_File]] = {}
        for wish in wanted:
            if self._is_on_tape(wish):
                from_tape.setdefault((wish.source.place, wish.destination), []).append(_archive_file(wish))
        for (source, name), these in from_tape.items():
            if self._is_open(name):
                # One lane: each volume is read once, forward.
                self._deliver({name: self._as_they_lie(source, these)}, {name: self._lanes[name][:1]})

    def _is_on_tape(self, wanted: Wanted) -> bool:
        return isinstance(self._sources.get(wanted.source.place), TapeDestination)

    def _as_they_lie(self, source: str, files: Sequence[_File]) -> Sequence[_File]:
        """Files in the order in which a place is read fastest. Volumes that are away are asked for."""
        by_copy = {(file.parcel.source.name, file.parcel.source.version): file for file in files}
        # What is wrong with the place is told by each task that reads there.
        with suppress(BackupError), closing(open_destination(self._sources[source])) as place:
            place.request(list(by_copy))
            return [by_copy[one] for one in place.reading_order(list(by_copy))]
        return files

    def _deliver(self, by_place: Mapping[str, Sequence[_File]], lanes: Mapping[str, tuple[str, ...]]) -> None:
        tasks = []
        told: dict[str, int] = {}
        for name, these in by_place.items():
            for number, batch in enumerate(batches(these, self._destinations[name], len(lanes[name])), 1):
                label = f"{name} {number}"
                told[label] = sum(file.size_bytes for file in batch)
                tasks.append(
                    _Batch(
                        task=DeliveryTask(
                            destination=self._destinations[name],
                            lanes=lanes[name],
                            manners=self._manners,
                            label=label,
                            parcels=tuple(one.parcel for one in batch),
                            places=self._places,
                        ),
                        files={one.parcel.name: one for one in batch},
                        is_open=self._is_open,
                    )
                )
        self._observer.copying(told)
        # Batches of all places take turns: who is first in the list must not hold up the others' workers.
        for outcome in self._engine(run_delivery, tasks, self._observer.progress):
            ended = outcome.task
            name = ended.task.destination.name
            if outcome.report is None:
                self._stop(name, outcome.failure())
                self.reports[name].waiting += len(ended.files)
                continue
            copied_bytes = self._record_delivery(name, ended, outcome.report)
            self._observer.copied(ended.task.label, copied_bytes)

    def lock(self, due: Sequence[DueLock]) -> None:
        """Lock copies of archives anew, and what lies beside them. What a place tells of it is recorded, task
        by task."""
        archives = {one.location: one.archive for one in due}
        wanted: dict[str, list[tuple[Location, datetime]]] = {}
        for due_lock in due:
            wanted.setdefault(due_lock.copy.place, []).append((due_lock.location, due_lock.until))
        for name in self._at_open(self._beside):
            if name in self.aheads:
                wanted.setdefault(name, []).extend(self._locks_beside(name))
        tasks = [
            LockTask(
                **{**self._at(name), "lanes": self._lanes[name]}, copies=tuple(those[at : at + _LOCKS_IN_ONE])
            )
            for name, those in self._at_open(wanted).items()
            for at in range(0, len(those), _LOCKS_IN_ONE)
        ]
        for name, told in self._done(run_lock, tasks):
            if isinstance(told, BackupError):
                self._stop(name, told)
            else:
                self._record_locks(name, told, archives)

    def _locks_beside(self, name: str) -> Iterator[tuple[Location, datetime]]:
        now, ahead = self._now(), self.aheads[name]
        here = [one for one in self._beside[name] if (self._staging / one).exists()]
        for one in to_lock(here, locks_beside(self._staging, name), now, ahead):
            yield Location(name, one), now + ahead

    def old_snapshots(self) -> Iterator[Location]:
        """The snapshots of the catalog, and their tables, that lie at destinations and that nobody needs; and
        what names mailboxes that were erased."""
        now = self._now()
        clean = first_clean_snapshot(self._staging)
        for name, there in self._at_open(self._beside).items():
            locked = locks_beside(self._staging, name)
            for snapshot in dict.fromkeys(
                (*old_snapshots(there, self._just_put[name]), *outdated_beside(there, clean))
            ):
                if snapshot not in locked or locked[snapshot] <= now:
                    yield Location(name, snapshot)

    def old_sidecars(self, purged: Collection[ArchiveId]) -> Iterator[Location]:
        """The sidecars at destinations whose archives were purged, and that do not lie in the staging area
        any more."""
        now = self._now()
        for name, there in self._at_open(self._beside).items():
            locked = locks_beside(self._staging, name)
            for sidecar in old_sidecars(there, purged):
                if not (self._staging / sidecar).exists() and locked.get(sidecar, now) <= now:
                    yield Location(name, sidecar)

    def everything(self, names: Iterable[str]) -> Iterator[tuple[str, tuple[Copy, ...]]]:
        """All that lies at these places; nothing of one that can't tell."""
        tasks = [ListTask(**self._at(name)) for name in names if self._is_open(name)]
        for name, told in self._done(run_list, tasks):
            if not isinstance(told, BackupError):
                yield name, told

    def remove(self, copies: Iterable[Location]) -> None:
        """Have copies removed that nobody needs, and forget those that are gone."""
        by_place: dict[str, list[Location]] = {}
        for copy in copies:
            by_place.setdefault(copy.place, []).append(copy)
        tasks = [
            RemovalTask(**self._at(name), copies=tuple(those))
            for name, those in self._at_open(by_place).items()
        ]
        for name, told in self._done(run_removal, tasks):
            if isinstance(told, BackupError):
                self._stop(name, told)
                continue
            self._record_removal(name, told)

    def _at(self, name: str) -> dict[str, Any]:
        """What a small task at a destination has in common with others."""
        return {
            "destination": self._destinations[name],
            "lanes": self._lanes[name][:1],
            "manners": self._manners,
        }

    def _is_open(self, name: str) -> bool:
        return self.reports[name].stopped is None

    def _at_open(self, by_place: Mapping[str, ReportT]) -> dict[str, ReportT]:
        """What is at places that this sweep is at, and that were not left alone."""
        return {
            name: those
            for name, those in by_place.items()
            if those and name in self.reports and self._is_open(name)
        }

    def _stop(self, name: str, error: BackupError) -> None:
        report = self.reports[name]
        if report.stopped is None:
            report.stopped = Skipped(name, error.code, error.message)
            self._observer.stopped(name, error.message)

    def _done(
        self, function: Callable[[Any, ProgressSink], ReportT], tasks: Sequence[Any]
    ) -> Iterator[tuple[str, ReportT | BackupError]]:
        if tasks:
            for outcome in self._engine(function, tasks, lambda _: None):
                told = outcome.failure() if outcome.report is None else outcome.report
                yield outcome.task.destination.name, told

    def _names(self) -> dict[str, frozenset[str]]:
        """What lies beside the archives at each place."""
        tasks = [NamesTask(**self._at(name), prefixes=PREFIXES) for name in self._at_open(self._destinations)]
        found: dict[str, frozenset[str]] = {}
        for name, told in self._done(run_names, tasks):
            if isinstance(told, BackupError):
                self._stop(name, told)
            else:
                found[name] = told
        return found

    def _record_look(
        self, name: str, told: Look, copies: Mapping[Location, tuple[ArchiveId, CopyRecord]]
    ) -> None:
        report, now = self.reports[name], self._now()
        entered = []
        for where, there in told.found:
            archive, copy = copies[where]
            if there.checksum not in (b"", copy.checksum) and copy.checksum:
                entered.append((archive, replace(copy, state="lost", verified=now)))
                report.lost.append(copy.name)
                continue
            kept = replace(copy, state="kept", verified=now)
            if name in self.aheads:
                kept = replace(kept, locked_until=there.locked_until)
                if _is_earlier(there.locked_until, copy.locked_until):
                    report.unlocked.append(Skipped(copy.name, "unlocked", _DROPPED))
            entered.append((archive, kept))
            report.looked += 1
        for where in told.lost:
            archive, copy = copies[where]
            entered.append((archive, replace(copy, state="lost", verified=now)))
            report.lost.append(copy.name)
        with self._catalog() as catalog:
            catalog.put_copies(entered)
        if told.stopped is not None:
            self._stop(name, told.stopped)

    def _record_delivery(self, name: str, batch: _Batch, told: Delivery) -> int:
        report, now = self.reports[name], self._now()
        entered = []
        copied_bytes = 0
        for parcel, copy in told.put:
            copied_bytes += copy.size_bytes
            if parcel.archive is None:
                report.companions += 1
                self._beside[name].add(parcel.name)
                self._just_put[name].add(parcel.name)
                continue
            report.copied += 1
            report.copied_bytes += copy.size_bytes
            record = replace(seen_at(name, copy, now), state="copied", copied=now)
            entered.append((parcel.archive, record))
        with self._catalog() as catalog:
            catalog.put_copies(entered)
        report.failed += [Skipped(parcel.name, error.code, error.message) for parcel, error in told.failed]
        for parcel, error in told.unread:
            if isinstance(error, NotYetError):
                report.out_of_reach += 1
            elif isinstance(error, DamagedError):
                self._note_damage(parcel, error)
            else:
                report.failed.append(Skipped(parcel.name, error.code, error.message))
        report.waiting += len(batch.files) - len(told.put) - len(told.failed) - len(told.unread)
        if told.stopped is not None:
            self._stop(name, told.stopped)
        return copied_bytes

    def _note_damage(self, parcel: Parcel, error: DamagedError) -> None:
        """One whose file is gone may have been purged meanwhile, or written anew: then it is no damage. Nor
        is a companion that is gone: a newer snapshot of the catalog has taken its place. A copy at a
        destination that is damaged counts no more, as if a verification had found it."""
        if parcel.archive is None:
            if parcel.source.place == STAGING and not (self._staging / parcel.source.name).exists():
                return
        else:
            with self._catalog() as catalog:
                try:
                    record = catalog.archive(parcel.archive)
                except NotFoundError:
                    return
                at = [
                    copy
                    for copy in record.copies
                    if (copy.place, copy.name, copy.version) == parcel.source[:3]
                ]
                if not at:
                    return
                if parcel.source.place != STAGING and is_damage(error):
                    catalog.put_copy(parcel.archive, replace(at[0], state="lost", verified=self._now()))
        self.damaged[parcel.name] = Skipped(parcel.name, error.code, error.message)

    def _record_locks(self, name: str, told: Locking, archives: Mapping[Location, ArchiveId]) -> None:
        report = self.reports[name]
        with self._catalog() as catalog:
            catalog.note_locks(
                (archives[where], where, until) for where, until in told.locked if where in archives
            )
        if beside := {where.name: until for where, until in told.locked if where not in archives}:
            note_locks_beside(self._staging, name, {**locks_beside(self._staging, name), **beside})
        report.locks += len(told.locked)
        report.unlocked += [Skipped(where.name, error.code, error.message) for where, error in told.failed]
        if told.stopped is not None:
            self._stop(name, told.stopped)

    def _record_removal(self, name: str, told: Removal) -> None:
        """Snapshots that are gone are not known to be locked any more, either."""
        report = self.reports[name]
        with self._catalog() as catalog:
            for location in told.removed:
                catalog.forget_discarded(location)
            catalog.note_discarded_locks((one, until) for one, until in told.locked if until is not None)
        beside = locks_beside(self._staging, name)
        if gone := beside.keys() & {one.name for one in told.removed}:
            note_locks_beside(
                self._staging, name, {one: until for one, until in beside.items() if one not in gone}
            )
        report.removed += len(told.removed)
        report.locked += [(one.name, until) for one, until in told.locked]
        report.refused += [Skipped(one.name, error.code, error.message) for one, error in told.refused]
        if told.stopped is not None:
            self._stop(name, told.stopped)

    @contextmanager
    def _catalog(self) -> Iterator[Catalog]:
        # Opened for each step: it may have been made anew meanwhile, as another file.
        with Catalog.open(self._staging, write=True) as catalog:
            yield catalog


class _Batch(Record, kw_only=True):
    """A delivery as it is dispatched: nothing of it, if its place was left alone meanwhile."""

    task: DeliveryTask
    files: Mapping[str, _File]
    is_open: Callable[[str], bool]

    @property
    def label(self) -> str:
        """See Task."""
        return self.task.label

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.task.hosts

    def attempted(self, _host: str, _attempt: int) -> DeliveryTask:
        """See Task."""
        return self.task if self.is_open(self.task.destination.name) else replace(self.task, parcels=())


def _archive_file(wanted: Wanted) -> _File:
    record = wanted.record
    parcel = Parcel(
        name=wanted.name,
        source=wanted.source,
        archive=record.archive,
        checksum=wanted.checksum,
        damaged=bool(record.lost),
        instead_of=wanted.lost,
        lock_until=wanted.lock_until,
    )
    return _File(parcel=parcel, size_bytes=record.size_bytes)


def _companion_file(companion: Companion) -> _File:
    parcel = Parcel(name=companion.name, source=Location(STAGING, companion.name))
    return _File(parcel=parcel, size_bytes=companion.size_bytes)


def _is_earlier(until: datetime | None, known: datetime | None) -> bool:
    return known is not None and (until is None or until < known)
