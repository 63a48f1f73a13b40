"""Where copies lie: staging area, destinations and their volumes; of which groups archives lie in one place
only, what was not read again for how long, and what fills up when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

from ...proto.errors import NotFoundError, PlaceError
from ...proto.records import STAGING
from ...proto.structs import Record
from ...worker.destinations.settings import Destination, TapeDestination
from ...worker.destinations.tape.inventory import Inventory, KnownVolume
from ..catalog import Catalog
from ..history import GroupCopies, Leftovers, PlaceLooks
from ..notices.space import PlaceSpace
from ..notices.spaces import recorded_spaces
from ..sweeping.record import LastSweep, last_sweeps
from ..sweeping.strays import last_strays
from ..wanted_volumes import WantedVolume, wanted_volumes

_FARTHEST_DAYS = 3650

DAYS = 30
"""What is new in a place came by runs of so many days."""

VOLUMES = 200
"""So many volumes of a tape destination are told, those written last first."""


class Volume(Record, kw_only=True):
    """A tape volume as it was when it was last in a drive: so many ``archives`` on it are needed still."""

    label: str
    pool: str
    state: Literal["retired", "full", "open", "empty"]
    archives: int
    size_bytes: int
    written: str
    tag: str
    alerts: tuple[str, ...] = ()


class PlaceView(Record, kw_only=True):
    """A place: ``staging``, or a destination of a ``kind``. ``copies`` are by state. ``space`` is what was
    seen of it last (None: it can't tell, or was not looked at yet), ``full`` when it will be (None: not
    within ten years); ``news_bytes`` came by runs of the last 30 days. ``unknown`` copies there are not in
    the catalog. ``configured``: it is a destination still. ``trouble``: why its volumes are not told."""

    name: str
    kind: str
    where: str
    configured: bool = True
    copies: tuple[PlaceLooks, ...] = ()
    news_bytes: int = 0
    space: PlaceSpace | None = None
    full: date | None = None
    sweep: LastSweep | None = None
    leftovers: Leftovers | None = None
    unknown: int = 0
    volumes: tuple[Volume, ...] = ()
    volumes_known: int = 0
    trouble: str = ""


class PlacesView(Record, kw_only=True):
    """All places, the staging area first, the groups, and the volumes that somebody has to bring. Of
    ``alone`` archives copies count in one place only, the oldest sealed at ``alone_since``; of ``unswept``
    ones none counts outside of the staging area; of ``nowhere`` ones none at all."""

    places: tuple[PlaceView, ...]
    groups: tuple[GroupCopies, ...] = ()
    archives: int = 0
    alone: int = 0
    alone_since: datetime | None = None
    unswept: int = 0
    nowhere: int = 0
    wanted: tuple[WantedVolume, ...] = ()


def look_at_places(staging: Path, destinations: Sequence[Destination], now: datetime) -> PlacesView:
    """As they are on record at a time (aware): no place is asked. Raises DamagedError, StagingError."""
    spaces = recorded_spaces(staging, now.date())
    sweeps = {sweep.destination: sweep for sweep in last_sweeps(staging)}
    looks: list[PlaceLooks] = []
    groups: list[GroupCopies] = []
    news: Mapping[str, int] = {}
    leftovers: dict[str, Leftovers] = {}
    try:
        with Catalog.open(staging) as catalog:
            looks = catalog.place_looks()
            groups = catalog.group_copies()
            news = catalog.place_news(now - timedelta(days=DAYS))
            leftovers = {leftover.place: leftover for leftover in catalog.leftovers()}
    except NotFoundError:  # there is no catalog before the first run
        pass
    configured = {destination.name: destination for destination in destinations}
    names = dict.fromkeys((STAGING, *configured, *(look.place for look in looks)))

    def view(name: str) -> PlaceView:
        settings = configured.get(name)
        space = spaces.get(name)
        strays = last_strays(staging, name)
        volumes, trouble = _volumes(settings)
        return PlaceView(
            name=name,
            kind=settings.kind if settings else STAGING if name == STAGING else "",
            where=settings.where if settings else str(staging) if name == STAGING else "",
            configured=settings is not None or name == STAGING,
            copies=tuple(look for look in looks if look.place == name),
            news_bytes=news.get(name, 0),
            space=space,
            full=None if space is None else _full(space, now.date()),
            sweep=sweeps.get(name),
            leftovers=leftovers.get(name),
            unknown=len(strays.found) if strays else 0,
            volumes=volumes[:VOLUMES],
            volumes_known=len(volumes),
            trouble=trouble,
        )

    return PlacesView(
        places=tuple(map(view, names)),
        groups=tuple(sorted(groups, key=lambda one: (-one.nowhere, -one.alone, one.partition, one.group))),
        archives=sum(group.archives for group in groups),
        alone=sum(copies.alone for copies in groups),
        alone_since=min(
            (group_copies.alone_since for group_copies in groups if group_copies.alone_since), default=None
        ),
        unswept=sum(one.unswept for one in groups),
        nowhere=sum(one.nowhere for one in groups),
        wanted=wanted_volumes(staging),
    )


def _full(space: PlaceSpace, today: date) -> date | None:
    days = space.days_left
    return None if days is None or days > _FARTHEST_DAYS else today + timedelta(days=round(days))


def _volumes(settings: Destination | None) -> tuple[tuple[Volume, ...], str]:
    if not isinstance(settings, TapeDestination):
        return (), ""
    try:
        volumes = sorted(
            map(_volume, Inventory(settings.state).all()), key=lambda one: one.written, reverse=True
        )
    except PlaceError as error:
        return (), error.message
    return tuple(volumes), ""


def _volume(known: KnownVolume) -> Volume:
    entries = [entry for entry in known.contents.entries if not entry.removed]
    state: Literal["retired", "full", "open", "empty"] = "open" if known.contents.entries else "empty"
    if known.retired:
        state = "retired"
    elif known.contents.finished:
        state = "full"
    return Volume(
        label=known.label.label,
        pool=known.label.pool,
        state=state,
        archives=len(entries),
        size_bytes=sum(entry.bytes for entry in entries),
        written=known.written,
        tag=known.tag,
        alerts=known.alerts,
    )
