"""A volume that will not come back."""

from __future__ import annotations

from collections.abc import Sequence

from ...archives.ports import Copy
from .addresses import archives_of
from .inventory import Inventory, KnownVolume


def forget_volume(inventory: Inventory, lost: KnownVolume) -> Sequence[Copy]:
    """Make a volume unknown, and no more wanted; returns the copies that are gone with it: those that were on
    it, whole or in part. Raises PlaceError."""
    there = _copies(inventory)
    inventory.forget(lost.label.volume)
    inventory.came(lost.label.pool, lost.label.volume)
    left = _copies(inventory)
    return [copy for address, copy in there.items() if address not in left]


def _copies(inventory: Inventory) -> dict[tuple[str, str], Copy]:
    volumes = ((known.label.volume, known.contents.entries) for known in inventory.all())
    copies = (found.copy for found in archives_of(volumes))
    return {(copy.name, copy.version): copy for copy in copies}
