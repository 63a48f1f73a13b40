"""Copies that nobody needs are removed, as far as their place lets go of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ...proto.errors import AccessError, BackupError, LockedUntilError, PlaceUnavailableError
from ...proto.records import Location
from ..archives.ports import Place
from .parcels import Removal


def remove(place: Place, copies: Iterable[Location]) -> Removal:
    """Remove copies; that some are locked is an answer, not a failure."""
    removed: list[Location] = []
    locked: list[tuple[Location, datetime | None]] = []
    failed: list[tuple[Location, BackupError]] = []
    stopped: BackupError | None = None
    for one in copies:
        try:
            place.remove(one.name, one.version)
            removed.append(one)
        except LockedUntilError as error:
            until = error.facts.get("until")
            locked.append((one, until if isinstance(until, datetime) else None))
        except (PlaceUnavailableError, AccessError) as error:
            stopped = error
            break
        except BackupError as error:
            failed.append((one, error))
    return Removal(removed=tuple(removed), locked=tuple(locked), failed=tuple(failed), stopped=stopped)
