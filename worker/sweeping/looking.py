"""Copies are looked for where they should be: without a list of all where they are few."""

from __future__ import annotations

from collections.abc import Sequence

from ...proto.errors import BackupError
from ...proto.records import Location
from ..archives.ports import Copy, Place
from .parcels import Look

_MOST_SINGLY = 200
"""From more than so many on, a list of all the place has is cheaper."""


def look(place: Place, copies: Sequence[Location], *, singly: bool = False) -> Look:
    """What the place has of these copies of its own, asked anew. One of another size is lost, too.
    ``singly``: each is asked for, as a list does not tell until when what is on it is locked."""
    found: list[tuple[Location, Copy]] = []
    lost: list[Location] = []
    try:
        listed = _listed(place) if len(copies) > _MOST_SINGLY and not singly else None
        for location in copies:
            copy = (
                place.stat(location.name, location.version) if listed is None else listed.get(location[1:3])
            )
            if copy is None or copy.size_bytes != location.size_bytes:
                # A list may be older than what it tells of.
                copy = place.stat(location.name, location.version) if listed is not None else copy
            if copy is not None and copy.size_bytes == location.size_bytes:
                found.append((location, copy))
            else:
                lost.append(location)
    except BackupError as error:
        return Look(found=tuple(found), lost=tuple(lost), stopped=error)
    return Look(found=tuple(found), lost=tuple(lost))


def names(place: Place, prefixes: Sequence[str]) -> frozenset[str]:
    """The names of all that a place has below these. Raises as its ``list``."""
    return frozenset(copy.name for prefix in prefixes for copy in place.list(prefix))


def everything(place: Place) -> tuple[Copy, ...]:
    """All that a place has. Raises as its ``list``."""
    return tuple(place.list())


def _listed(place: Place) -> dict[tuple[str, str], Copy]:
    listed: dict[tuple[str, str], Copy] = {}
    for copy in place.list():
        listed[copy.name, copy.version] = copy
        # Who asks without a version means the newest, which ``stat`` tells.
        listed.setdefault((copy.name, ""), copy)
    return listed
