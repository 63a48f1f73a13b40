"""Starts what workers are forked from while the command itself is still being loaded."""

from __future__ import annotations

from ..dispatch.nursery import prepare

_WORK = ("worker.tasks.attempt", "worker.tasks.inventory", "worker.stores.maildir")
"""What the workers of a backup need, below the root package."""


def prepare_workers() -> None:
    """Let what the workers of a backup need be loaded from now on, at the same time as the rest of it."""
    root = __name__.partition(".")[0]
    prepare([f"{root}.{name}" for name in _WORK])
