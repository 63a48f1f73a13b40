"""The copies of what was erased, outside of the staging area: which are still to go, and what holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ...proto.errors import AccessError, BackupError
from ...proto.records import CONFIRMED, STAGING, Location
from ...proto.structs import replace
from ...worker.archives.names import ArchiveName, parse_name
from ...worker.archives.ports import Copy
from ...worker.destinations.registry import open_destination
from ...worker.destinations.settings import Destination, TapeDestination
from ..catalog import Catalog
from ..catalog.reading import CatalogReader
from ..catalog.snapshots import stem_of
from ..destinations import ready
from ..settings import SweepRules, destinations_directory
from ..sweeping.beside import locks_beside, outdated_beside
from ..sweeping.companions import PREFIXES
from .progress import Progress, Remaining, Step, counted, read_progress, write_progress
from .record import Erasure, certificate_file, put_beside, read_erasures

if TYPE_CHECKING:
    from ...worker.destinations.tape.inventory import KnownVolume  # who has no tapes does without

_NOT_CONFIGURED = "the place is not configured any more (`mailhaul erase --gone` if all there is destroyed)"

Rules = Callable[[str], SweepRules]


def copies_left(catalog: CatalogReader) -> tuple[Remaining, ...]:
    """The copies of archives as they were before they were written anew, and of archives that are gone: of
    what was erased some may be in each of them."""
    found = [
        Remaining(
            place=copy.place,
            name=copy.name,
            version=copy.version,
            size_bytes=copy.size_bytes,
            until=copy.locked_until,
        )
        for record in catalog.archives()
        for copy in record.copies
        if copy.place != STAGING and copy.generation < record.generation
    ]
    found += [
        Remaining(
            place=discarded.location.place,
            name=discarded.location.name,
            version=discarded.location.version,
            size_bytes=discarded.location.size_bytes,
            until=discarded.locked_until,
        )
        for discarded in catalog.discarded()
    ]
    return tuple(found)


def left_on_tape(
    catalog: CatalogReader, destinations: Iterable[Destination], erasures: Iterable[Erasure]
) -> Iterator[Remaining]:
    """What is still on volumes though nobody needs it: tape forgets it when it is labelled anew, the catalog
    when it is marked. And the volumes whose front, which names mailboxes, is of before the last erasure."""
    current = {
        (copy.place, copy.name)
        for archive in catalog.archives()
        for copy in archive.copies
        if copy.generation == archive.generation
    }
    asked = max(erasure.asked for erasure in erasures)
    for settings in destinations:
        for volume, known in _volumes(settings).items():
            if datetime.fromisoformat(known.label.made) <= asked:
                yield Remaining(place=settings.name, name=f"volume {known.label.label}", version=volume)
            for entry in known.contents.entries:
                beside = entry.name.startswith(PREFIXES)
                if entry.removed or not (beside or (settings.name, entry.name) in current):
                    yield Remaining(
                        place=settings.name,
                        name=entry.name,
                        version=f"{volume}:{entry.block}",
                        size_bytes=entry.size_bytes,
                    )


class KnownCopies:
    """Which copies at destinations the catalog knows, needed or not; of the others what they may be."""

    def __init__(self, catalog: CatalogReader) -> None:
        records = list(catalog.archives())
        self._known = {(copy.place, copy.name, copy.version) for record in records for copy in record.copies}
        self._known.update(
            (remaining.place, remaining.name, remaining.version) for remaining in copies_left(catalog)
        )
        self._generations = {
            archive_record.archive.hex()[:16]: archive_record.generation for archive_record in records
        }
        self._purged = {archive.hex()[:16] for archive in catalog.purged_archives()}

    def stray(self, place: str, copy: Copy) -> Remaining | None:
        """A copy of an archive that is not known there, as a sweep that was killed leaves it; None if it is
        known, or holds nothing but what is needed."""
        name = _archive_name(copy.name)
        if name is None or (place, copy.name, copy.version) in self._known:
            return None
        generation = -1 if name.digits in self._purged else self._generations.get(name.digits)
        if generation is not None and 0 <= generation <= name.generation:
            return None
        told = f"the catalog does not know it: `mailhaul catalog rebuild --from {place}`"
        return Remaining(
            place=place,
            name=copy.name,
            version=copy.version,
            size_bytes=copy.size_bytes,
            why=told if generation is None else "",
        )


def discard_strays(staging: Path, destinations: Iterable[Destination]) -> None:
    """Copies that the catalog does not know are to be removed, if they are of an archive that was written
    anew since, or that was dropped; they are due. Raises StagingError, DamagedError."""
    with Catalog.open(staging, write=True) as catalog:
        known = KnownCopies(catalog)
        told = (
            known.stray(destination.name, copy)
            for destination in destinations
            for copy in _listed(destination, staging)[0]
        )
        strays = [remaining for remaining in told if remaining is not None and not remaining.why]
        _add_remaining(
            staging, strays
        )  # first: a place may have locked them, and then the catalog knows them
        catalog.discard_strays(
            Location(stray.place, stray.name, stray.version, stray.size_bytes) for stray in strays
        )


def _add_remaining(staging: Path, more: Sequence[Remaining]) -> None:
    """More copies are due, of all erasures that are not done."""
    for erasure in read_erasures(staging) if more else ():
        progress = read_progress(staging, erasure.erasure)
        if progress.ended is None:
            left = {remaining.key: remaining for remaining in (*more, *progress.remaining)}
            write_progress(staging, replace(progress, remaining=tuple(left.values())))


def _listed(settings: Destination, staging: Path) -> tuple[tuple[Copy, ...], str]:
    """All that lies at a place, and why that is not known. What a tape has its inventory tells."""
    if isinstance(settings, TapeDestination):
        return (), ""
    try:
        with closing(open_destination(ready(settings, staging))) as place:
            return tuple(place.list()), ""
    except BackupError as error:
        return (), error.message


def _archive_name(name: str) -> ArchiveName | None:
    try:
        return None if name.startswith("_") else parse_name(name)
    except AccessError:
        return None


def discard_unruled(staging: Path, rules_of: Rules) -> None:
    """Where the rules of a group name no destination, nothing is put in the place of its old copies: they
    are to be removed as they are. Raises StagingError."""
    with Catalog.open(staging, write=True) as catalog:
        for record in list(catalog.archives()):
            if record.is_staged and not rules_of(record.group).copies:
                for copy in record.copies:
                    if copy.place not in (STAGING, CONFIRMED) and copy.generation < record.generation:
                        catalog.discard_copy(record.archive, copy)


def look_again(staging: Path, destinations: Sequence[Destination], now: datetime) -> None:
    """Find out which copies of what was erased are left, of all erasures that are not done, and record it:
    one of which none is left, and that has nothing undone, is done. Raises StagingError, DamagedError."""
    open_ones = [
        progress
        for erasure in read_erasures(staging)
        if (progress := read_progress(staging, erasure.erasure)).ended is None and progress.staged
    ]
    if not open_ones:
        return
    with Catalog.open(staging) as catalog:
        known = {one.key: one for one in copies_left(catalog)}
        places = [_Place(staging, destination, KnownCopies(catalog)) for destination in destinations]
    unasked = [Remaining(place=name) for name in _used_before(staging) - {one.name for one in destinations}]
    for progress in open_ones:
        before = {one.key: one for one in progress.remaining}
        found = (*unasked, *(one for place in places for one in place.beside(progress)))
        left = {**before, **{one.key: one for one in found}}
        remaining = tuple(
            told
            for key, one in left.items()
            if not {one.place, one.version} & {*progress.destroyed}
            and (told := _still_there(one, known.get(key), places)) is not None
        )
        gone = len(before.keys() - {one.key for one in remaining})
        _note(staging, replace(progress, remaining=remaining, removed=progress.removed + gone), gone, now)


def note_destroyed(staging: Path, where: str) -> int:
    """Record that somebody says that all is destroyed which was at a place that is not configured any more,
    or which another program kept at this location. Returns of how many erasures copies were due there. Raises
    StagingError, DamagedError."""
    count = 0
    for erasure in read_erasures(staging):
        progress = read_progress(staging, erasure.erasure)
        due = [left for left in progress.remaining if _is_elsewhere(left, where)]
        if progress.ended is None and due:
            count += 1
            write_progress(staging, replace(progress, destroyed=(*progress.destroyed, where)))
    return count


def _is_elsewhere(remaining: Remaining, where: str) -> bool:
    if remaining.place == CONFIRMED:
        return remaining.version == where
    return remaining.place == where and remaining.why == _NOT_CONFIGURED


def _used_before(staging: Path) -> set[str]:
    """The destinations of which something was kept: all that were ever used, unless that was lost."""
    return {unquote(path.name) for path in destinations_directory(staging).glob("*")}


def _note(staging: Path, progress: Progress, gone: int, now: datetime) -> None:
    steps = progress.steps
    if gone:
        steps = (*steps, Step(now, f"{counted(gone, 'copy', 'copies')} elsewhere removed"))
    if not progress.remaining and not progress.undone:
        steps = (*steps, Step(now, "nothing is left anywhere"))
        progress = replace(progress, ended=now)
    progress = replace(progress, steps=steps)
    if progress.ended is not None:
        from .certificate import certificate  # it reads what is recorded here

        erasure = next(
            read_erasure
            for read_erasure in read_erasures(staging)
            if read_erasure.erasure == progress.erasure
        )
        put_beside(certificate_file(staging, erasure.erasure), certificate(erasure, progress))
    write_progress(staging, progress)


def _still_there(remaining: Remaining, known: Remaining | None, places: Iterable[_Place]) -> Remaining | None:
    """A copy as it is known now; None if it is gone for good."""
    if remaining.place == CONFIRMED:
        return replace(
            remaining, why="only the program that keeps it can remove it: then `mailhaul erase --gone`"
        )
    place = next((place for place in places if place.name == remaining.place), None)
    if place is None:
        return replace(known or remaining, why=_NOT_CONFIGURED)
    return place.still_there(remaining, known)


class _Place:
    """A destination, and what lies there beside archives, asked once."""

    def __init__(self, staging: Path, settings: Destination, known: KnownCopies) -> None:
        self.name = settings.name
        self._staging = staging
        self._volumes = _volumes(settings) if isinstance(settings, TapeDestination) else None
        listed, self._error = _listed(settings, staging)
        self._there = {(copy.name, copy.version) for copy in listed}
        self._sizes = {one.name: one.size_bytes for one in listed if one.name.startswith(PREFIXES)}
        strays = (known.stray(self.name, one) for one in listed)
        self._strays = {stray.key: stray for stray in strays if stray is not None}

    def beside(self, progress: Progress) -> Iterator[Remaining]:
        """What lies beside archives there that is of before an erasure, and what nobody knows."""
        if self._volumes is not None:
            yield from self._beside_on_tape(progress)
            return
        if self._error:
            yield Remaining(place=self.name)
        yield from self._strays.values()
        locks = locks_beside(self._staging, self.name)
        for name in outdated_beside(self._sizes, stem_of(progress.snapshot)):
            yield Remaining(place=self.name, name=name, size_bytes=self._sizes[name], until=locks.get(name))

    def still_there(self, remaining: Remaining, known: Remaining | None) -> Remaining | None:
        """See the function of that name."""
        if self._volumes is not None:
            return self._on_tape(remaining)
        if self._error:
            return replace(known or remaining, why=self._error)
        if known is not None:
            return replace(known, why=_reason(known))
        if remaining.key in self._strays:
            return replace(remaining, why=remaining.why or _reason(remaining))
        beside = remaining.name.startswith(PREFIXES) and remaining.name in self._sizes
        return (
            replace(remaining, why=_reason(remaining)) if beside or remaining.key[1:] in self._there else None
        )

    def _on_tape(self, remaining: Remaining) -> Remaining | None:
        volume, _, block = remaining.version.partition(":")
        known = (self._volumes or {}).get(volume)
        if known is None or (block and int(block) not in {entry.block for entry in known.contents.entries}):
            return None
        return replace(remaining, why=f"until the volume {known.label.label} is labelled anew")

    def _beside_on_tape(self, progress: Progress) -> Iterator[Remaining]:
        for volume, known in (self._volumes or {}).items():
            names = {entry.name: entry for entry in known.contents.entries}
            for name in outdated_beside(names, stem_of(progress.snapshot), there_only=False):
                entry = names[name]
                yield Remaining(
                    place=self.name,
                    name=name,
                    version=f"{volume}:{entry.block}",
                    size_bytes=entry.size_bytes,
                )


def _volumes(settings: Destination) -> Mapping[str, KnownVolume]:
    if not isinstance(settings, TapeDestination):
        return {}
    from ...worker.destinations.tape.inventory import Inventory

    return {volume.label.volume: volume for volume in Inventory(settings.state).all()}


def _reason(remaining: Remaining) -> str:
    if remaining.until is not None:
        return "it is locked"
    return "it is removed when the new copy counts, or at the next sweep"
