"""Copies that nobody needs are removed, as far as their place lets go of them.

That a place removes nothing for who sweeps is no failure: it is how a key that was stolen can do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ...proto.errors import BackupError, LockedUntilError, PlaceUnavailableError
from ...proto.records import Location
from ..archives.ports import Place
from .parcels import Removal

_MOST_REFUSALS = 3


def remove(place: Place, copies: Iterable[Location]) -> Removal:
    """Remove copies; that some are locked, or may not be removed, is an answer, not a failure. A place that
    refuses so many in a row is not asked any more."""
    removed: list[Location] = []
    locked: list[tuple[Location, datetime | None]] = []
    refused: list[tuple[Location, BackupError]] = []
    stopped: BackupError | None = None
    in_a_row = 0
    for copy in copies:
        try:
            place.remove(copy.name, copy.version)
            removed.append(copy)
            in_a_row = 0
        except LockedUntilError as error:
            until = error.facts.get("until")
            locked.append((copy, until if isinstance(until, datetime) else None))
        except PlaceUnavailableError as error:
            stopped = error
            break
        except BackupError as error:
            refused.append((copy, error))
            in_a_row += 1
            if in_a_row == _MOST_REFUSALS:
                break
    return Removal(removed=tuple(removed), locked=tuple(locked), refused=tuple(refused), stopped=stopped)
