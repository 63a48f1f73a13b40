"""The table of contents of a sweep: archives are copied to the places where they stay, and leave the staging
area when their copies count.

    lock     one sweep at a time for each destination                          locks
    look     copies that were made some time ago: they count, or are lost      worker.sweeping.looking
    plan     which archives are to go where                                    policy
    copy     in parallel, each checked and compared                            worker.sweeping.putting
    record   what its place made durable, batch by batch                       catalog
    lock     copies that are needed, where their place locks                   lock_terms
    free     staging space of what has its copies, after one more look         freeing
    search   once a week, for copies that the catalog does not know            strays
    remove   copies that nobody needs                                          worker.sweeping.removing
    copy     what lies on tape only                                            worker.sweeping.putting
    keep     the catalog as it is now, beside the archives                     keepsakes

Every step can be repeated. What a sweep that was killed has put and not recorded, the next one finds when it
puts the same under the same name, and records it then. A destination that does not do what it should is left
alone until the next time, and the others go on; nothing is ever given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from ...proto.errors import BackupError, LockedError, NotFoundError, UsageError
from ...proto.records import CONFIRMED, ArchiveId, Location, Skipped
from ...proto.structs import replace
from ...worker.destinations.settings import Destination, TapeDestination
from ...worker.load import LoadLimits
from ...worker.staging.space import Space
from ...worker.tasks.sweeping import Manners
from ..catalog import Catalog
from ..destinations import begin_to_use, ready
from ..history import ArchiveRecord, CopyRecord
from ..holds import read_holds
from ..keepsakes import keep_catalog_now
from ..mailbox_secrets import has_vault
from ..structure_keys import encrypts
from . import policy
from .companions import Companion, companions
from .freeing import free, held_archive, restage
from .lock_terms import Needs, due_locks, lock_until, needs
from .locks import sweeping
from .record import note_sweep
from .report import DestinationReport, SweepObserver, SweepReport, SweepRequest
from .steps import MakeEngine, Steps, nothing_done
from .strays import is_due, last_strays, note_strays, strays, to_remove

NOBODY = SweepObserver()

_LEAST_MARGIN_BYTES = 16 << 20
_MARGIN_SHARE = 50
"""So much more than the reserve is to be free; of the file system a fiftieth."""


def sweep(
    staging: Path,
    request: SweepRequest,
    make_engine: MakeEngine,
    now: Callable[[], datetime],
    observer: SweepObserver = NOBODY,
) -> SweepReport:
    """Sweep a staging area, while runs, purges and restores go on.

    Raises UsageError for a path into a group or a destination that there is not, NotFoundError if there is no
    catalog, LockedError if other sweeps are at all of the destinations, StagingError, DamagedError.
    """
    _check(request)
    _check_sweepable(staging, request)
    with _taken(staging, _chosen(request), now()) as (destinations, refused):
        work = _Sweep(staging, request, destinations, make_engine, now, observer)
        work.look_again()
        work.copy()
        work.lock()
        freed, left = ([], []) if request.to else work.free()
        work.look_for_strays()
        unneeded = work.remove()
        work.copy_from_tape()
        for report in work.steps.reports.values():
            note_sweep(staging, report, now())
    reports = {**work.steps.reports, **refused}
    if freed or any(
        destination_report.copied or destination_report.looked for destination_report in reports.values()
    ):
        keep_catalog_now(staging)
    return SweepReport(
        destinations=tuple(reports[name] for name in sorted(reports)),
        damaged=tuple(work.steps.damaged.values()),
        freed=tuple(record.name for record in freed),
        freed_bytes=sum(archive_record.size_bytes for archive_record in freed),
        left=tuple(left),
        unneeded=tuple(unneeded),
    )


def rehearse(staging: Path, request: SweepRequest, now: Callable[[], datetime]) -> SweepReport:
    """What ``sweep`` would do, as far as the catalog tells: no destination is asked, nothing is changed.
    Raises as ``sweep``, but for locks."""
    _check(request)
    _check_sweepable(staging, request)
    work = _Sweep(staging, request, _chosen(request), lambda _lanes: nothing_done, now, NOBODY)
    for wish in work.wanted():
        report = work.steps.reports[wish.destination]
        report.copied += 1
        report.copied_bytes += wish.record.size_bytes
    for _, copy in work.due_looks():
        work.steps.reports[copy.place].looked += 1
    freed = [] if request.to else work.freeable()
    return SweepReport(
        destinations=tuple(work.steps.reports.values()),
        freed=tuple(record.name for record in freed),
        freed_bytes=sum(archive_record.size_bytes for archive_record in freed),
    )


class _Sweep:
    """A sweep whose locks are held."""

    def __init__(
        self,
        staging: Path,
        request: SweepRequest,
        destinations: Sequence[Destination],
        make_engine: MakeEngine,
        now: Callable[[], datetime],
        observer: SweepObserver,
    ) -> None:
        self._staging = staging
        self._request = request
        self._config = request.config
        self._places = frozenset(destination.name for destination in destinations)
        self._slow = [
            tape_destination.name
            for tape_destination in request.destinations
            if isinstance(tape_destination, TapeDestination)
        ]
        self._sources = [one.name for one in request.destinations if one.name not in self._slow] + self._slow
        self._now = now
        self._observer = observer
        self._needed: Needs | None = None
        self._rules_of = policy.only(request.to) if request.to else request.config.of_group
        self.steps = Steps(
            staging,
            destinations,
            [ready(one, staging) for one in request.destinations],
            request.config.streams,
            _manners(staging, request),
            make_engine,
            now,
            observer,
        )

    def look_again(self) -> None:
        """Look for the copies that do not count yet."""
        self.steps.look(self.due_looks())

    def due_looks(self) -> Iterator[tuple[ArchiveId, CopyRecord]]:
        """The copies that are to be looked for."""
        seconds = self._config.look_again_seconds
        return policy.due_looks(self._records(), self._places, seconds, self._now())

    def copy(self) -> None:
        """Copy what is not everywhere where it should be."""
        for name, many in policy.out_of_reach(self._records(), self._rules_of, self._sources).items():
            if name in self.steps.reports:
                self.steps.reports[name].out_of_reach = many
        self.steps.copy(self.wanted(), self._companions())
        self._look_at_once()

    def _companions(self) -> list[Companion]:
        return list(companions(self._staging, encrypted=encrypts(self._staging)))

    def copy_from_tape(self) -> None:
        """Copy what lies on tape only. It takes as long as the volumes do, and nobody waits for it."""
        self.steps.copy_from_tape(self.wanted())
        self._look_at_once()

    def _look_at_once(self) -> None:
        if self._config.look_again_seconds <= 0:
            self.look_again()

    def wanted(self) -> Iterator[policy.Wanted]:
        """The copies that are to be made at the destinations of this sweep."""
        now = self._now()
        for wish in policy.wanted(self._records(), self._rules_of, self._sources, self._slow, now):
            ahead = self.steps.aheads.get(wish.destination)
            if ahead is not None:
                yield replace(wish, lock_until=lock_until(self._needs(), wish.record.archive, now, ahead))
            elif wish.destination in self._places:
                yield wish

    def lock(self) -> None:
        """Lock copies that are needed, and whose locks end soon."""
        if self.steps.aheads:
            self.steps.lock(due_locks(self._records(), self._needs(), self.steps.aheads, self._now()))

    def _needs(self) -> Needs:
        # Found out once: what is purged meanwhile comes free a little later.
        if self._needed is None:
            now = self._now()
            with Catalog.open(self._staging) as catalog:
                beyond = now + min(self.steps.aheads.values())
                self._needed = needs(catalog, self._request.retention.of_group, now, beyond)
        return self._needed

    def free(self) -> tuple[list[ArchiveRecord], list[str]]:
        """Free staging space, after a look at the copies that this relies on."""
        for skip in restage(self._staging, self._records(), self._now()):
            self.steps.damaged[skip.path] = skip
        self.steps.look(policy.stale_looks(self.freeable(), self._places, self._now()))
        configured = {destination.name for destination in self._request.destinations}
        safe = [
            record
            for record in self.freeable()
            if policy.was_looked_at(record, self._rules_of(record.group), configured, self._now())
        ]
        return free(self._staging, safe, self._observer.waiting) if safe else ([], [])

    def remove(self) -> list[Location]:
        """Remove the copies that nobody needs; returns those that only other programs can."""
        with Catalog.open(self._staging, write=True) as catalog:
            for archive, copy in policy.outdated(self._records(), self._config.of_group):
                with suppress(NotFoundError):  # purged meanwhile, and its copies with it
                    catalog.discard_copy(archive, copy)
            unneeded = catalog.forget_discarded_elsewhere()
            discarded = catalog.discarded()
            purged = catalog.purged_archives()
        now = self._now()
        going = [one.location for one in discarded if policy.may_go(one, now)]
        self.steps.remove((*going, *self.steps.old_snapshots(), *self.steps.old_sidecars(purged)))
        return unneeded

    def look_for_strays(self) -> None:
        """Find out what lies at destinations that the catalog does not know, once a week. Of that what was
        purged goes to the copies that nobody needs."""
        last = {name: last_strays(self._staging, name) for name in self._places}
        due = [name for name in sorted(last) if is_due(last[name], self._now())]
        for name, listed in self.steps.everything(due):
            with Catalog.open(self._staging, write=True) as catalog:
                known = {
                    Location(copy.place, copy.name, copy.version)
                    for record in catalog.archives()
                    for copy in record.copies
                }
                known.update(discarded.location for discarded in catalog.discarded())
                found = strays(name, listed, known, last[name], self._now())
                catalog.discard_strays(to_remove(found, catalog.purged_archives()))
            note_strays(self._staging, found)

    def freeable(self) -> list[ArchiveRecord]:
        room = Space(self._staging, self._request.reserve_bytes).room()
        # Whoever waits for room has left a little less than a piece of it free.
        margin_bytes = max(_LEAST_MARGIN_BYTES, room.total_bytes // _MARGIN_SHARE)
        short_bytes = self._request.reserve_bytes + margin_bytes - room.free_bytes
        holds = read_holds(self._staging).at_hand
        configured = {destination.name for destination in self._request.destinations}
        with Catalog.open(self._staging) as catalog:
            return policy.freeable(
                self._records(),
                self._config.of_group,
                self._now(),
                short_bytes,
                lambda record: (
                    not policy.counts_in_reach(record, configured) or held_archive(catalog, holds, record)
                ),
            )

    def _records(self) -> list[ArchiveRecord]:
        with Catalog.open(self._staging) as catalog:
            return list(policy.selected(catalog.archives(), self._request.path))


def _manners(staging: Path, request: SweepRequest) -> Manners:
    limits = LoadLimits(
        bytes_per_second=request.config.bytes_per_second,
        messages_per_second=request.config.requests_per_second,
    )
    limited = limits.bytes_per_second or limits.messages_per_second
    return Manners(
        patience_seconds=request.patience_seconds,
        limits=limits,
        ledger=str(staging / ".mailhaul" / "sweeps" / "pace") if limited else "",
    )


def _check(request: SweepRequest) -> None:
    if request.path.user is not None:
        raise UsageError(
            f"{request.path}: archives are those of groups: name a partition or a group",
            path=str(request.path),
        )
    names = [destination.name for destination in request.destinations]
    if request.to and request.to not in names:
        raise UsageError(f"there is no destination {request.to!r}; there is: {', '.join(names) or 'none'}")


def _check_sweepable(staging: Path, request: SweepRequest) -> None:
    """Without destinations there is something to do only where other programs keep copies. Where there is no
    catalog, none is made."""
    with Catalog.open(staging) as catalog:
        kept = any(place.place == CONFIRMED for place in catalog.copy_standing().places)
    if not (request.destinations or kept):
        raise UsageError(
            "there is no destination: configure one ([[destination]]), or `mailhaul confirm` what another "
            "program keeps"
        )


def _chosen(request: SweepRequest) -> list[Destination]:
    return [destination for destination in request.destinations if request.to in ("", destination.name)]


@contextmanager
def _taken(
    staging: Path, destinations: Sequence[Destination], now: datetime
) -> Iterator[tuple[list[Destination], dict[str, DestinationReport]]]:
    """The destinations at which nobody else sweeps and that are this staging area's, fit to be opened, and
    what there is to say of the others. Raises LockedError if others sweep at all of them."""
    ours: list[Destination] = []
    refused: dict[str, DestinationReport] = {}
    locked: list[LockedError] = []
    with ExitStack() as stack:
        for destination in destinations:
            try:
                stack.enter_context(sweeping(staging, destination.name))
                ours.append(begin_to_use(destination, staging))
            except BackupError as error:
                if isinstance(error, LockedError):
                    locked.append(error)
                stopped = Skipped(destination.name, error.code, error.message)
                refused[destination.name] = DestinationReport(name=destination.name, stopped=stopped)
                if not isinstance(error, LockedError):
                    note_sweep(staging, refused[destination.name], now)
        if locked and len(locked) == len(destinations):
            raise locked[0]
        for report in _without_vault(staging, ours, destinations):
            refused[report.name] = report
            note_sweep(staging, report, now)
        yield [our for our in ours if our.name not in refused], refused


def _without_vault(
    staging: Path, ours: Sequence[Destination], destinations: Sequence[Destination]
) -> Iterator[DestinationReport]:
    """The destinations to which no archive may go now, as their copies could not be read in a lost house: the
    vault with the secrets of the mailboxes could not be put there; or, where none belongs, nowhere else."""
    if not has_vault(staging):
        return
    from ..vault_copies import copy_vault, keeps_vault  # whose mailboxes are not erasable does without

    places = {place.name: place for place in copy_vault(staging, ours)}
    elsewhere = any(one.done for one in places.values()) or not any(map(keeps_vault, destinations))
    for our in ours:
        own = places.get(our.name)
        if own is not None and not own.done:
            told = f"the vault with the secrets of mailboxes is not there: {own.error}"
        elif own is None and not elsewhere:
            told = "no destination has the vault with the secrets of mailboxes, and this one can't have it"
        else:
            continue
        yield DestinationReport(name=our.name, stopped=Skipped(our.name, "vault", told))
