"""Starts what workers are forked from while the command itself is still being loaded."""

from __future__ import annotations

from collections.abc import Sequence

from ...worker.destinations.registry import adapter_module
from ...worker.destinations.settings import Destination
from ..dispatch.nursery import prepare

_ROOT = __name__.partition(".")[0]
_BACKUP = ("worker.tasks.attempt", "worker.tasks.inventory", "worker.stores.maildir")
"""What the workers of a backup need, below the root package."""
_RESTORE = ("worker.tasks.restore", "worker.stores.maildir_target", "worker.stores.surroundings")
"""What the workers of a restore need."""
_SWEEP = ("worker.tasks.attempt", "worker.tasks.sweeping")
"""What those of a sweep need whatever its destinations are."""


def prepare_workers() -> None:
    """Let what the workers of a backup need be loaded from now on, at the same time as the rest of it."""
    prepare([f"{_ROOT}.{name}" for name in _BACKUP])


def prepare_restore() -> None:
    """The same for a restore into a Maildir store."""
    prepare([f"{_ROOT}.{name}" for name in _RESTORE])


def prepare_sweep(destinations: Sequence[Destination]) -> None:
    """The same for a sweep to these destinations."""
    adapters = dict.fromkeys(map(adapter_module, destinations))
    prepare([*(f"{_ROOT}.{name}" for name in _SWEEP), *adapters])
