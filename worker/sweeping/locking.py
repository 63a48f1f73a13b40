"""Copies are locked at a place, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ...proto.errors import AccessError, BackupError, PlaceError, PlaceUnavailableError
from ...proto.records import Location
from ..archives.ports import Place
from .parcels import Locking

_MOST_REFUSALS = 3
"""A place that locks none of so many in a row is not asked any more."""


def lock(place: Place, wanted: Iterable[tuple[Location, datetime]]) -> Locking:
    """Lock copies until then, and tell until when they are locked now. One that can't be is a failure of its
    own; a place that locks nothing, or does not let who asks, is not asked for the others."""
    locked: list[tuple[Location, datetime]] = []
    failed: list[tuple[Location, BackupError]] = []
    refusals = 0
    for location, until in wanted:
        try:
            locked.append((location, place.lock(location.name, location.version, until)))
            refusals = 0
        except PlaceUnavailableError as error:
            return Locking(locked=tuple(locked), failed=tuple(failed), stopped=error)
        except BackupError as error:
            failed.append((location, error))
            refusals += isinstance(error, AccessError | PlaceError)
            if refusals == _MOST_REFUSALS:
                break
    return Locking(locked=tuple(locked), failed=tuple(failed))
