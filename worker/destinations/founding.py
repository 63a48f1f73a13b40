"""A destination begins to be one of a staging area: it gets the mark of that, unless it has another's."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from ...proto.errors import PlaceError, PlaceUnavailableError
from ..archives.ports import Place
from .directory import found_directory
from .marks import MARK, MOST_MARK_BYTES, decode_mark, encode_mark
from .memory import MemoryFile
from .registry import open_destination
from .settings import Destination, DirectoryDestination, TapeDestination
from .system_errors import told

_MADE_BY_SYSTEMS = {"lost+found", ".Trash-0", "System Volume Information"}
"""What an empty file system may have."""


def found(settings: Destination, area: str, *, take_over: bool = False) -> None:
    """Make a destination that of the staging area with this id; a directory that is not there is made.
    ``take_over``: also if it was another one's. Repeatable. Raises PlaceError, AccessError."""
    if isinstance(settings, DirectoryDestination):
        with told(settings.name, f"write {settings.path}"):
            owner = found_directory(settings.path, area)
            if owner != area and take_over:
                owner = found_directory(settings.path, area, take_over=True)
    elif isinstance(settings, TapeDestination):
        return  # each volume has its label, and what is on them is recorded in the staging area
    else:
        with closing(open_destination(settings)) as place:
            owner = _found(place, area, take_over=take_over)
    if owner != area:
        raise PlaceError(
            f"{settings.name} is a destination of another staging area ({owner}): "
            f"`mailhaul destination adopt {settings.name}` takes it over",
            place=settings.name,
            area=owner,
        )


def found_if_new(settings: Destination, area: str) -> None:
    """The same for one that nobody has looked at yet: of directories only an empty one is taken. Whether that
    is the right one, and no mount point without its disk, nobody but its owner can tell from here on."""
    if isinstance(settings, DirectoryDestination):
        path = Path(settings.path)
        with told(settings.name, f"list {path}"):
            there = set(os.listdir(path)) if path.is_dir() else None
        if there is None:
            raise PlaceUnavailableError(
                f"{settings.name}: there is no directory {path}: mount its disk, if it is not mounted; "
                f"`mailhaul destination check {settings.name}` makes it",
                place=settings.name,
            )
        if MARK not in there and there - _MADE_BY_SYSTEMS:
            raise PlaceError(
                f"{settings.name}: {path} holds other files, and no {MARK}: "
                f"`mailhaul destination check {settings.name}` makes it a destination all the same",
                place=settings.name,
            )
    found(settings, area)


def _found(place: Place, area: str, *, take_over: bool) -> str:
    """Whose a place without directories is."""
    there = place.stat(MARK)
    if there is not None and take_over:
        place.remove(MARK, there.version)
        there = None
    if there is None:
        place.put(MARK, MemoryFile(MARK, encode_mark(area)))
        place.commit()
    with closing(place.open(MARK)) as mark:
        return decode_mark(mark.read_at(0, MOST_MARK_BYTES), f"{place.name}:{MARK}")
