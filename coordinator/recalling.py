"""The table of contents of a recall: archives come back into the staging area, each from its nearest copy.

    which copies there are of each archive                            holdings
    as long as there are some to bring back:
      ask each place once for all that it has to make ready           worker.archives.ports
      bring back what can be had now                                  worker.tasks.recalling
      record what is there; of what failed the next copy is taken
      wait for what has to be made ready

It can be broken off at any time and begun again: what has arrived stays, what was asked for is not asked for
again. The catalog is not locked meanwhile, and nothing is deleted (the caller is in ``readers.reading``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from ..proto.errors import BackupError, DamagedError, NotFoundError, NotYetError, is_damage
from ..proto.ports import ProgressSink
from ..proto.records import CONFIRMED, STAGING, ArchiveId, Location
from ..proto.structs import Mutable, Record, field, replace
from ..worker.archives.holdings import EXCERPTS, NAMED_FILES, ConfirmedCopies, Holdings, name_of
from ..worker.destinations.registry import open_destination
from ..worker.destinations.settings import Destination
from ..worker.staging.area import StagingArea
from ..worker.tasks.recalling import RecallReport, RecallTask, Wanted, run_recall
from .catalog import Catalog
from .dispatch.engine import Engine
from .history import CopyRecord
from .keepsakes import keep_catalog_now

_MOST_REASONS = 20
_STREAMS = 4  # of a place that can be read anywhere: each brings back one archive after the other


class Recalled(Record, kw_only=True):
    """What a recall came to: the archives that lie in the staging area ``now``, by their names there, so many
    ``size_bytes`` of which came back; and those of which no copy could be had, with the last error."""

    now: tuple[tuple[ArchiveId, str], ...] = ()
    size_bytes: int = 0
    failed: tuple[tuple[ArchiveId, BackupError], ...] = ()


class RecallObserver(Record, kw_only=True):
    """Who looks on: told of the archives that are to come back, of progress, and of waiting (how many
    archives, why; repeated as long as it lasts); ``by_hand`` first of those that another program has to
    bring."""

    begin: Callable[[Sequence[Wanted]], object] = lambda _: None
    progress: ProgressSink = lambda _: None
    by_hand: Callable[[Sequence[Wanted]], object] = lambda _: None
    waiting: Callable[[int, str], object] = lambda _count, _why: None


def to_recall(holdings: Holdings, archives: Iterable[ArchiveId], *, far: bool) -> list[ArchiveId]:
    """Those of some archives that have to come back before they can be used: no copy of them is in the
    staging area, nor (unless those who need them are ``far`` from the staging host) in a place whose files
    can be read in parts."""
    near = {STAGING, NAMED_FILES}
    if not far:
        near |= {
            place.name for place in holdings.places if isinstance(place, Destination) and place.reads_anywhere
        }
    return [
        archive
        for archive in dict.fromkeys(archives)
        if (copies := holdings.locations.get(archive)) and not any(copy.place in near for copy in copies)
    ]


def _reasons(told: Iterable[str]) -> str:
    reasons = list(dict.fromkeys(told))
    more = f"; and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
    return "; ".join(reasons[:_MOST_REASONS]) + more


class _Work(Mutable):
    """What is left: of each archive the copies that were not tried yet. ``lost``: some count no more."""

    left: dict[ArchiveId, list[Wanted]] = field(default_factory=dict)
    now: dict[ArchiveId, str] = field(default_factory=dict)
    size_bytes: int = 0
    failed: dict[ArchiveId, BackupError] = field(default_factory=dict)
    lost: bool = False


def recall(
    area: StagingArea,
    holdings: Holdings,
    archives: Iterable[ArchiveId],
    engine: Engine,
    *,
    now: Callable[[], datetime],
    pause: Callable[[], bool],
    observer: RecallObserver,
    afresh: bool = False,
) -> Recalled:
    """Bring back those of these archives that are not in the staging area by what ``holdings`` say; with
    ``afresh`` their copies are read even so where they are. ``pause`` is called when there is
    nothing to do but to wait; once it says no, what is still to be made ready has failed. Raises
    StagingError.
    """
    places = {
        name_of(place): place for place in holdings.places if isinstance(place, Destination | ConfirmedCopies)
    }
    with Catalog.open(Path(area.path), write=True) as catalog:
        work = _begun(catalog, holdings, archives)
        observer.begin([copies[0] for copies in work.left.values()])
        while work.left:
            tasks = [replace(task, afresh=afresh) for task in _tasks(area, places, work)]
            waiting: dict[ArchiveId, str] = {}
            by_hand: list[Wanted] = []
            for outcome in engine(run_recall, tasks, observer.progress):
                report = outcome.report or RecallReport(
                    failed=tuple((wish, outcome.failure()) for wish in outcome.task.wanted)
                )
                waiting.update((one.archive, why) for one, why in report.waiting)
                by_hand += [one for one, _ in report.waiting if one.location.place == CONFIRMED]
                _record(catalog, report, work, now())
            if not waiting:
                continue
            if by_hand:
                observer.by_hand(by_hand)
            observer.waiting(len(waiting), _reasons(waiting.values()))
            if not pause():
                for archive, why in waiting.items():
                    work.left.pop(archive, None)
                    work.failed[archive] = NotYetError(why)
    if work.lost:
        keep_catalog_now(Path(area.path))
    return Recalled(
        now=tuple(work.now.items()), size_bytes=work.size_bytes, failed=tuple(sorted(work.failed.items()))
    )


def _begun(catalog: Catalog, holdings: Holdings, archives: Iterable[ArchiveId]) -> _Work:
    work = _Work()
    for archive in dict.fromkeys(archives):
        copies = holdings.locations.get(archive, ())
        if staged := [copy.name for copy in copies if copy.place == STAGING]:
            work.now[archive] = staged[0]
            continue
        checksums = _checksums(catalog, archive)
        away = [location for location in copies if location.place != EXCERPTS]
        if away:
            work.left[archive] = [
                Wanted(
                    archive=archive,
                    location=one,
                    checksum=checksums.get(one[:3], b""),
                    encrypted=archive in holdings.encrypted,
                )
                for one in away
            ]
        else:
            work.failed[archive] = DamagedError(f"archive {archive.hex()} has no copy", reason="missing")
    return work


def _checksums(catalog: Catalog, archive: ArchiveId) -> dict[tuple[str, str, str], bytes]:
    with suppress(NotFoundError):
        return {
            (copy.place, copy.name, copy.version): copy.checksum for copy in catalog.archive(archive).copies
        }
    return {}


def _tasks(
    area: StagingArea, places: Mapping[str, Destination | ConfirmedCopies], work: _Work
) -> Iterable[RecallTask]:
    """What each place is to bring back, in the order in which it is read fastest."""
    by_place: dict[str, list[Wanted]] = {}
    for copies in work.left.values():
        by_place.setdefault(copies[0].location.place, []).append(copies[0])
    for name, wanted in by_place.items():
        settings = places[name]
        by_copy = {(wish.location.name, wish.location.version): wish for wish in wanted}
        streams = 1
        if isinstance(settings, Destination):
            # What is wrong with a place is told by each task that reads there.
            with suppress(BackupError), closing(open_destination(settings)) as place:
                place.request(list(by_copy))
                wanted = [by_copy[one] for one in place.reading_order(list(by_copy))]
                streams = _STREAMS if settings.reads_anywhere else 1
        for number in range(min(streams, len(wanted))):
            yield RecallTask(
                wanted=tuple(wanted[number::streams]),
                place=settings,
                staging=area,
                label=f"recall from {name} {number + 1}",
            )


def _record(catalog: Catalog, report: RecallReport, work: _Work, when: datetime) -> None:
    for wish, size_bytes in report.recalled:
        generation = next(
            (
                known.generation
                for known in catalog.archive(wish.archive).copies
                if known.name == wish.location.name
            ),
            0,
        )
        catalog.put_copy(
            wish.archive,
            CopyRecord(
                place=STAGING,
                name=wish.location.name,
                generation=generation,
                size_bytes=size_bytes,
                checksum=wish.checksum,
                copied=when,
                verified=when,
            ),
        )
        work.left.pop(wish.archive, None)
        work.now[wish.archive] = wish.location.name
        work.size_bytes += size_bytes
    for wish, error in report.failed:
        if is_damage(error):
            lose_copy(catalog, wish.archive, wish.location)
            work.lost = True
        copies = work.left.get(wish.archive, [])
        del copies[:1]
        if not copies:
            work.left.pop(wish.archive, None)
            work.failed[wish.archive] = error


def lose_copy(catalog: Catalog, archive: ArchiveId, location: Location) -> None:
    """A copy is not what was put there, or not there at all: it counts no more, and the next sweep makes
    another. What somebody else keeps was not read here. Raises NotFoundError."""
    if location.place == CONFIRMED:
        return
    for copy in catalog.archive(archive).copies:
        if (copy.place, copy.name, copy.version) == location[:3]:
            catalog.put_copy(archive, replace(copy, state="lost"))
