"""Starts the processes that do the work while the command itself is still being loaded."""

from __future__ import annotations

from ..dispatch.nursery import prepare

_WORK = ("worker.attempt", "worker.inventory_tasks", "worker.stores.maildir")
"""What a backup needs, below the root package."""


def prepare_workers() -> None:
    """Load what the workers of a backup need, in the process that they will be forked from."""
    root = __name__.partition(".")[0]
    prepare([f"{root}.{name}" for name in _WORK])
