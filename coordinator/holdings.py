"""The archives that can be read, and in which order their copies are: the nearest first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ..proto.errors import UsageError
from ..proto.records import CONFIRMED, STAGING, ArchiveId, Location
from ..worker.archives.holdings import EXCERPTS, ConfirmedCopies, Holdings
from ..worker.destinations.settings import Destination
from ..worker.staging.area import StagingArea
from .catalog.reading import CatalogReader


def holdings(
    catalog: CatalogReader,
    area: StagingArea,
    destinations: Sequence[Destination] = (),
    only: str | None = None,
    wanted: Collection[ArchiveId] | None = None,
) -> Holdings:
    """Every archive (or each that is ``wanted``) of which there is a copy in the staging area or in one of
    these destinations; or in the one that is called ``only``. Of what has left the staging area the excerpt
    there is read first, and what is not in that from the destinations in their order; last comes what other
    programs have to bring back. Raises UsageError if there is none of that name.
    """
    if only is not None:
        destinations = [destination for destination in destinations if destination.name == only]
        if not destinations:
            raise UsageError(f"there is no destination {only!r} in the configuration", place=only)
    order = {name: number for number, name in enumerate((*(one.name for one in destinations), CONFIRMED))}
    found: dict[ArchiveId, tuple[Location, ...]] = {}
    for archive, copies in catalog.locations(wanted).items():
        chosen = _in_order(copies, order) if only is None else _of_place(copies, only)
        if chosen:
            found[archive] = chosen
    # The staging area in any case: a recall brings there what can't be read where it is.
    here = (area,) if only is not None else (area, ConfirmedCopies(staging=area.path))
    return Holdings(
        locations=found, encrypted=catalog.encrypted() & found.keys(), places=(*here, *destinations)
    )


def _in_order(copies: Iterable[Location], order: Mapping[str, int]) -> tuple[Location, ...]:
    staged = [copy for copy in copies if copy.place == STAGING]
    away = sorted(
        (location for location in copies if location.place in order), key=lambda one: order[one.place]
    )
    if staged:
        return (*staged, *away)
    excerpts = dict.fromkeys(Location(EXCERPTS, one.name) for one in copies)
    return (*excerpts, *away)


def _of_place(copies: Iterable[Location], place: str) -> tuple[Location, ...]:
    return tuple(copy for copy in copies if copy.place == place)
