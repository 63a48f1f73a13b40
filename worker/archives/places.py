"""The places that a task reads archives from, by what is configured of them: each is opened when something in
it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...proto.archive.files import LocalFile, RandomAccess, ReadOnward
from ...proto.errors import DamagedError, PlaceError, UnreadableError
from ...proto.records import STAGING, Location
from ..destinations.settings import Destination
from ..staging.area import StagingArea, open_area
from .excerpts import Excerpt
from .holdings import (
    EXCERPTS,
    NAMED_FILES,
    ConfirmedCopies,
    Folder,
    NamedFiles,
    PlaceSettings,
    described,
    keys_of,
    name_of,
)
from .names import check_relative, excerpt_name
from .ports import Source


class Places:
    """Places that are open; close them. ``host`` is where this runs (empty: on the staging host), ``grant``
    lets it read what lies there. ``keys`` are those of the staging area among them."""

    def __init__(self, settings: Iterable[PlaceSettings], host: str = "", grant: bytes = b"") -> None:
        self._settings = {name_of(setting): setting for setting in settings}
        self.keys = keys_of(self._settings.values())
        if STAGING in self._settings:
            self._settings[EXCERPTS] = self._settings[STAGING]
        self._host = host
        self._grant = grant
        self._open: dict[str, Source] = {}

    def open(self, location: Location) -> RandomAccess:
        """The bytes of a copy. Raises as ``Source.open``; PlaceError for a place that is not configured."""
        file = self._place(location.place).open(location.name, location.version)
        return ReadOnward(file) if isinstance(self._settings[location.place], Destination) else file

    def described(self, location: Location) -> str:
        """Where a copy lies, for people."""
        return described(location, self._settings.values())

    def close(self) -> None:
        """Repeatable."""
        while self._open:
            self._open.popitem()[1].close()

    def _place(self, name: str) -> Source:
        place = self._open.get(name)
        if place is None:
            settings = self._settings.get(name)
            if settings is None:
                raise PlaceError(f"there is no place {name!r} in the configuration", place=name)
            place = self._open[name] = self._opened(name, settings)
        return place

    def _opened(self, name: str, settings: PlaceSettings) -> Source:
        if isinstance(settings, StagingArea):
            area = open_area(settings, self._host, self._grant)
            return _Excerpts(area) if name == EXCERPTS else area
        if isinstance(settings, NamedFiles):
            return _OpenedFiles(settings)
        if isinstance(settings, Folder):
            return FolderSource(settings.name, settings.path)
        if isinstance(settings, ConfirmedCopies):
            from .confirmed import ConfirmedSource

            return ConfirmedSource(settings)
        from ..destinations.registry import open_destination

        return open_destination(settings)


class FolderSource:
    """A directory of this host, for reading. See Source."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self._path = path

    def open(self, name: str, _version: str = "") -> LocalFile:
        """See Source."""
        return open_local(str(Path(self._path, check_relative(name))))

    def close(self) -> None:
        """See Source."""


class _Excerpts:
    """The excerpts of archives in a staging area, by the names of the archives. See Source."""

    name = EXCERPTS

    def __init__(self, area: Source) -> None:
        self._area = area

    def open(self, name: str, _version: str = "") -> Excerpt:
        """See Source."""
        file = self._area.open(excerpt_name(name))
        try:
            return Excerpt(file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """See Source."""
        self._area.close()


class _OpenedFiles:
    """Files that somebody named. See Source."""

    name = NAMED_FILES

    def __init__(self, settings: NamedFiles) -> None:
        self._files = settings.files

    def open(self, name: str, _version: str = "") -> LocalFile:
        """See Source."""
        file = self._files[int(name)]
        return open_local(file.path, file.start, file.size_bytes)

    def close(self) -> None:
        """See Source."""


def open_local(path: str, start: int = 0, size_bytes: int | None = None) -> LocalFile:
    """A file of this host, or a stretch of it. Raises DamagedError (``missing``) if it can't be opened,
    UnreadableError if that is not allowed."""
    try:
        return LocalFile(path, start, size_bytes)
    except PermissionError as error:
        raise UnreadableError(f"{path}: {error.strerror}", reason="unreadable") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedError(f"{path}: {error.strerror}", reason="missing") from error
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}", reason="io-error") from error
