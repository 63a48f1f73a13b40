"""Verifying copies: those in destinations that were not read for longest are read, all of each, and what is
found is recorded at once, so that a verification that ends early goes on with the rest the next night.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from ...proto.errors import BackupError, is_damage
from ...proto.keys.records import Keyring
from ...proto.ports import ProgressSink
from ...proto.records import Location, Skipped
from ...proto.structs import Record, replace
from ...worker.destinations.registry import open_destination
from ...worker.destinations.settings import Destination
from ...worker.tasks.checking import CheckReport, CheckTask, run_check
from ...worker.tasks.recalling import Wanted
from ..catalog import Catalog
from ..dispatch.engine import Engine
from ..history import ArchiveRecord
from ..keepsakes import keep_catalog_now
from ..structure_keys import keys_at


class CopyChecks(Record, kw_only=True):
    """What a verification of copies came to: so many were read and ``whole``; what is ``damaged`` or gone,
    which counts as lost from now on; and what could not be read now."""

    whole: int = 0
    damaged: tuple[Skipped, ...] = ()
    unread: tuple[Skipped, ...] = ()


def due_copies(
    records: Iterable[ArchiveRecord], places: Sequence[str], before: datetime | None
) -> list[Wanted]:
    """The copies in these places that were not read since then (None: all), the longest ago first. One that
    is known to be lost is not looked at."""
    found: list[tuple[datetime | None, Wanted]] = []
    for record in records:
        for copy in record.copies:
            last = copy.checked or copy.copied
            if copy.place in places and copy.state != "lost" and (not before or not last or last < before):
                location = Location(copy.place, copy.name, copy.version, copy.size_bytes)
                wanted = Wanted(
                    archive=record.archive,
                    location=location,
                    checksum=copy.checksum,
                    encrypted=bool(record.encrypted),
                )
                found.append((last, wanted))
    found.sort(key=lambda pair: (pair[0] is not None, pair[0] and pair[0].timestamp(), pair[1].location))
    return [wanted for _, wanted in found]


def check_copies(
    staging: Path,
    due: Sequence[Wanted],
    destinations: Sequence[Destination],
    engine: Engine,
    on_progress: ProgressSink,
    now: Callable[[], datetime],
) -> CopyChecks:
    """Read copies. Raises StagingError if what is found can't be recorded."""
    by_name = {destination.name: destination for destination in destinations}
    done = CopyChecks()
    with Catalog.open(staging, write=True) as catalog:
        tasks = list(_tasks(due, by_name, keys_at(staging).keys))
        for outcome in engine(run_check, tasks, on_progress):
            report = outcome.report or CheckReport(
                failed=tuple((one, outcome.failure()) for one in outcome.task.wanted)
            )
            for wish in report.whole:
                _note(catalog, wish, now(), whole=True)
            lost = [(one, error) for one, error in report.failed if is_damage(error)]
            for wish, _ in lost:
                _note(catalog, wish, now(), whole=False)
            away = [(one, error) for one, error in report.failed if not is_damage(error)]
            done = CopyChecks(
                whole=done.whole + len(report.whole),
                damaged=(*done.damaged, *map(_told, lost)),
                unread=(*done.unread, *map(_told, away)),
            )
    if done.damaged:
        keep_catalog_now(staging)
    return done


def _tasks(
    due: Sequence[Wanted], destinations: Mapping[str, Destination], keys: Keyring
) -> Iterator[CheckTask]:
    """A copy at a time where files can be read in parts, so that each is recorded when it was read; all at
    once where they have to be read in the order in which they lie."""
    by_place: dict[str, list[Wanted]] = {}
    for wish in due:
        by_place.setdefault(wish.location.place, []).append(wish)
    for name, wanted in by_place.items():
        settings = destinations[name]
        parts = [wanted]
        with suppress(BackupError), closing(open_destination(settings)) as place:
            if place.reads_anywhere:
                parts = [[one] for one in wanted]
            else:
                by_copy = {(one.location.name, one.location.version): one for one in wanted}
                place.request(list(by_copy))
                parts = [[by_copy[one] for one in place.reading_order(list(by_copy))]]
        for part in parts:
            yield CheckTask(wanted=tuple(part), place=settings, label=part[0].location.name, keys=keys)


def _note(catalog: Catalog, checked: Wanted, when: datetime, *, whole: bool) -> None:
    for copy in catalog.archive(checked.archive).copies:
        if (copy.place, copy.name, copy.version) == checked.location[:3]:
            found = replace(copy, state="kept") if whole else replace(copy, state="lost")
            catalog.put_copy(checked.archive, replace(found, verified=when, checked=when))


def _told(failed: tuple[Wanted, BackupError]) -> Skipped:
    wish, error = failed
    reason = str(error.facts.get("reason", error.code))
    return Skipped(f"{wish.location.place}:{wish.location.name}", reason, error.message)
