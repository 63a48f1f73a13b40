"""The destinations of a staging area: their settings made fit to be opened, and which of them are known.

What has to be kept of one lies in ``.mailhaul/destinations/NAME`` of the staging area.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..proto.errors import UsageError
from ..proto.structs import replace
from ..worker.destinations.founding import found, found_if_new
from ..worker.destinations.settings import Destination, DirectoryDestination, TapeDestination
from .area_id import area_id
from .durable import replace_durably
from .settings import own_directory

_KNOWN = "known"


def named(destinations: Iterable[Destination], name: str) -> Destination:
    """The destination of this name. Raises UsageError."""
    names = []
    for destination in destinations:
        if destination.name == name:
            return destination
        names.append(destination.name)
    raise UsageError(f"there is no destination {name!r}; there is: {', '.join(names) or 'none'}", name=name)


def ready(settings: Destination, staging: Path) -> Destination:
    """The settings as they are opened with, also by workers: with whose destination it is, or where lies what
    goes along. Raises StagingError."""
    if isinstance(settings, DirectoryDestination):
        return replace(settings, area=area_id(staging))
    if isinstance(settings, TapeDestination):
        return replace(settings, beside=str(staging))
    return settings


def begin_to_use(settings: Destination, staging: Path) -> Destination:
    """The same for one that is written to. The first time it is marked as that of this staging area; a
    directory has to be empty then, and from then on one without the mark is a disk that is not mounted.

    Raises PlaceError and its kin if it is another one's, or not there.
    """
    if not (own_directory(staging, settings.name) / _KNOWN).exists():
        found_if_new(settings, area_id(staging))
        _note_known(settings, staging)
    return ready(settings, staging)


def take_into_use(settings: Destination, staging: Path, *, take_over: bool = False) -> Destination:
    """The same, because somebody says so: a directory may hold other files, and is made if it is not there.
    ``take_over``: it may even be the destination of another staging area."""
    found(settings, area_id(staging), take_over=take_over)
    _note_known(settings, staging)
    return ready(settings, staging)


def _note_known(settings: Destination, staging: Path) -> None:
    replace_durably(own_directory(staging, settings.name) / _KNOWN, b"")
