"""The copies of what was erased, outside of the staging area: which are still to go, and what holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ...proto.errors import BackupError
from ...proto.records import CONFIRMED, STAGING, RunId
from ...proto.structs import replace
from ...worker.destinations.registry import open_destination
from ...worker.destinations.settings import Destination, TapeDestination
from ..catalog import Catalog
from ..catalog.reading import CatalogReader
from ..catalog.snapshots import stem_of
from ..destinations import ready
from ..settings import SweepRules
from ..sweeping.beside import locks_beside, outdated_beside
from ..sweeping.companions import PREFIXES
from .progress import Progress, Remaining, Step, read_progress, write_progress
from .record import certificate_file, put_beside, read_erasures

if TYPE_CHECKING:
    from ...worker.destinations.tape.inventory import KnownVolume  # who has no tapes does without

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
            place=one.location.place,
            name=one.location.name,
            version=one.location.version,
            size_bytes=one.location.size_bytes,
            until=one.locked_until,
        )
        for one in catalog.discarded()
    ]
    return tuple(found)


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
        for one in read_erasures(staging)
        if (progress := read_progress(staging, one.erasure)).ended is None and progress.staged
    ]
    if not open_ones:
        return
    with Catalog.open(staging) as catalog:
        known = {one.key: one for one in copies_left(catalog)}
    places = [_Place(staging, one) for one in destinations]
    for progress in open_ones:
        before = {one.key: one for one in progress.remaining}
        left = {**before, **{one.key: one for place in places for one in place.beside(progress)}}
        remaining = tuple(
            told
            for key, one in left.items()
            if (told := _still_there(one, known.get(key), places)) is not None
        )
        gone = len(before.keys() - {one.key for one in remaining})
        _note(staging, replace(progress, remaining=remaining, removed=progress.removed + gone), gone, now)


def _note(staging: Path, progress: Progress, gone: int, now: datetime) -> None:
    steps = progress.steps
    if gone:
        steps = (*steps, Step(now, f"{gone} copies elsewhere are gone"))
    if not progress.remaining and not progress.undone:
        steps = (*steps, Step(now, "nothing is left anywhere"))
        progress = replace(progress, ended=now)
    progress = replace(progress, steps=steps)
    if progress.ended is not None:
        from .certificate import certificate  # it reads what is recorded here

        erasure = next(one for one in read_erasures(staging) if one.erasure == progress.erasure)
        put_beside(certificate_file(staging, erasure.erasure), certificate(erasure, progress))
    write_progress(staging, progress)


def _still_there(one: Remaining, known: Remaining | None, places: Iterable[_Place]) -> Remaining | None:
    """A copy as it is known now; None if it is gone for good."""
    if one.place == CONFIRMED:
        return replace(one, why="only the program that keeps it can remove it")
    place = next((place for place in places if place.name == one.place), None)
    if place is None:
        return replace(known or one, why="its place is not configured any more")
    return place.still_there(one, known)


class _Place:
    """A destination, and what lies there beside archives, asked once."""

    def __init__(self, staging: Path, settings: Destination) -> None:
        self.name = settings.name
        self._staging = staging
        self._settings = settings
        self._volumes = _volumes(settings) if isinstance(settings, TapeDestination) else None
        self._sizes: dict[str, int] = {}
        self._error = ""
        if self._volumes is None:
            try:
                with closing(open_destination(ready(settings, staging))) as place:
                    self._sizes = {
                        one.name: one.size_bytes for prefix in PREFIXES for one in place.list(prefix)
                    }
            except BackupError as error:
                self._error = error.message

    def beside(self, progress: Progress) -> Iterator[Remaining]:
        """What lies beside archives there that is of before an erasure."""
        if self._volumes is not None:
            yield from self._fronts(progress)
            return
        locks = locks_beside(self._staging, self.name)
        for name in outdated_beside(self._sizes, stem_of(progress.snapshot)):
            yield Remaining(place=self.name, name=name, size_bytes=self._sizes[name], until=locks.get(name))

    def still_there(self, one: Remaining, known: Remaining | None) -> Remaining | None:
        """See the function of that name."""
        if self._volumes is not None:
            return self._on_tape(one)
        if known is not None:
            return replace(known, why=_reason(known))
        if one.name.startswith(PREFIXES):
            if self._error:
                return replace(one, why=self._error)
            return replace(one, why=_reason(one)) if one.name in self._sizes else None
        return None

    def _on_tape(self, one: Remaining) -> Remaining | None:
        volume, _, block = one.version.partition(":")
        known = (self._volumes or {}).get(volume)
        if known is None or (block and int(block) not in {entry.block for entry in known.contents.entries}):
            return None
        return replace(one, why=f"until the volume {known.label.label} is labelled anew")

    def _fronts(self, progress: Progress) -> Iterator[Remaining]:
        """What stands first on a volume names mailboxes as of when it was labelled; what lies beside archives
        is on some, too."""
        from ..run_ids import started_of

        for volume, known in (self._volumes or {}).items():
            if datetime.fromisoformat(known.label.made) <= started_of(RunId(progress.erasure)):
                yield Remaining(place=self.name, name=f"volume {known.label.label}", version=volume)
            names = {entry.name: entry for entry in known.contents.entries}
            for name in outdated_beside(names, stem_of(progress.snapshot), there_only=False):
                entry = names[name]
                yield Remaining(
                    place=self.name,
                    name=name,
                    version=f"{volume}:{entry.block}",
                    size_bytes=entry.size_bytes,
                )


def _volumes(settings: TapeDestination) -> Mapping[str, KnownVolume]:
    from ...worker.destinations.tape.inventory import Inventory

    return {one.label.volume: one for one in Inventory(settings.state).all()}


def _reason(one: Remaining) -> str:
    if one.until is not None:
        return "it is locked"
    return "it is removed when the new copy counts, or at the next sweep"
