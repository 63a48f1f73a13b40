"""Which archives can be read, and where: light records that tasks carry. Nothing is opened here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ...proto.keys.records import NO_KEYS, Keyring
from ...proto.records import CONFIRMED, STAGING, ArchiveId, Location
from ...proto.structs import Record, field, replace
from ..destinations.settings import Destination
from ..staging.area import StagingArea
from .names import excerpt_name

EXCERPTS = "excerpts"
"""What the excerpts of archives in the staging area are called among the places, each by the name of its
archive."""

NAMED_FILES = "files"
"""What files that somebody names are called among the places."""


class Folder(Record, kw_only=True):
    """A directory of this host that archives are read from, and what it is called among the places."""

    name: str
    path: str


class ConfirmedCopies(Record, kw_only=True):
    """What other programs keep: only they can bring it back, into the ``staging`` area."""

    staging: str


class Stretched(Record, kw_only=True):
    """A file that somebody named, or the stretch of it from ``start`` on (``size_bytes`` of it)."""

    path: str
    start: int = 0
    size_bytes: int | None = None


class NamedFiles(Record, kw_only=True):
    """Files that somebody named. As a place it calls them by their numbers."""

    files: tuple[Stretched, ...] = ()


PlaceSettings = StagingArea | Folder | NamedFiles | ConfirmedCopies | Destination


class Holdings(Record, kw_only=True):
    """Archives that can be read, and how: where the copies of each lie, the best to read first, and the
    ``places`` that they lie in. ``encrypted`` are those that are known to be: a file in clear is none of
    them. ``unlocked`` are the keys that somebody's private key opened."""

    locations: Mapping[ArchiveId, tuple[Location, ...]] = field(default_factory=dict)
    encrypted: frozenset[ArchiveId] = frozenset()
    places: tuple[PlaceSettings, ...] = ()
    unlocked: Keyring = NO_KEYS

    @property
    def keys(self) -> Keyring:
        """All keys at hand: those of the staging area too."""
        return keys_of(self.places).and_those(self.unlocked)

    def of(self, archives: Iterable[ArchiveId]) -> Holdings:
        """Only these of them."""
        kept = {archive: self.locations[archive] for archive in archives if archive in self.locations}
        return replace(self, locations=kept, encrypted=self.encrypted & kept.keys())

    def at(self, place: str) -> Holdings:
        """Only the copies at a place."""
        kept = {
            archive: found
            for archive, locations in self.locations.items()
            if (found := tuple(location for location in locations if location.place == place))
        }
        return replace(self, locations=kept, encrypted=self.encrypted & kept.keys())

    def back(self, names: Mapping[ArchiveId, str]) -> Holdings:
        """The same when these archives lie in the staging area again, under these names."""
        staged = {
            archive: (Location(STAGING, name), *self.locations.get(archive, ()))
            for archive, name in names.items()
        }
        return replace(self, locations={**self.locations, **staged})

    def reached(self, area: StagingArea) -> Holdings:
        """The same for workers that reach the staging area in this way."""
        places = tuple(area if isinstance(place, StagingArea) else place for place in self.places)
        return replace(self, places=places)

    def path(self, archive: ArchiveId) -> str:
        """Where the best copy of an archive lies, for people; empty if there is none."""
        for location in self.locations.get(archive, ()):
            if location.place != EXCERPTS:
                return described(location, self.places)
        return ""

    def nearest_place(self, archive: ArchiveId) -> str:
        """What the place of the best copy of an archive is called; empty if there is none."""
        return next(
            (location.place for location in self.locations.get(archive, ()) if location.place != EXCERPTS), ""
        )

    def are_there(self, archive: ArchiveId) -> bool:
        """Whether a copy is there: of those on this host it is looked for, the others are where they were
        put. What other programs keep is not there before they bring it back."""
        return any(
            path.exists() if (path := path_of(location, self.places)) else location.place != CONFIRMED
            for location in self.locations.get(archive, ())
            if location.place != EXCERPTS
        )


def staged(area: StagingArea, names: Mapping[ArchiveId, str]) -> Holdings:
    """Archives of a staging area, by their names there."""
    return Holdings(
        locations={archive: (Location(STAGING, name),) for archive, name in names.items()}, places=(area,)
    )


def keys_of(places: Iterable[PlaceSettings]) -> Keyring:
    """The structure keys of the staging area among some places."""
    found = NO_KEYS
    for place in places:
        if isinstance(place, StagingArea):
            found = found.and_those(place.keys)
    return found


def described(location: Location, places: Iterable[PlaceSettings]) -> str:
    """Where a copy lies, for people: a path where it has one."""
    if location.place == CONFIRMED:
        return f"{location.name}, kept at {location.version}"
    path = path_of(location, places)
    return f"{location.place}:{location.name}" if path is None else str(path)


def path_of(location: Location, places: Iterable[PlaceSettings]) -> Path | None:
    """The file of a copy on its host; None for one that is no file there."""
    for place in places:
        if isinstance(place, StagingArea) and location.place == EXCERPTS:
            return Path(place.path, excerpt_name(location.name))
        if name_of(place) == location.place:
            if isinstance(place, NamedFiles):
                return Path(place.files[int(location.name)].path)
            if isinstance(place, StagingArea | Folder):
                return Path(place.path, location.name)
    return None


def name_of(settings: PlaceSettings) -> str:
    """What a place is called."""
    if isinstance(settings, StagingArea):
        return STAGING
    if isinstance(settings, ConfirmedCopies):
        return CONFIRMED
    return NAMED_FILES if isinstance(settings, NamedFiles) else settings.name
