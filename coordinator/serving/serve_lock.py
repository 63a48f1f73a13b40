"""One ``mailhaul serve`` for a staging area."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...proto.errors import LockedError
from ..flocks import flocked


@contextmanager
def serving(staging: Path) -> Iterator[None]:
    """While the context lasts, this process is the only one that serves the staging area. Raises LockedError,
    StagingError."""
    with flocked(_place(staging), f"another `mailhaul serve` serves {staging}", patience_seconds=0):
        yield


def is_served(staging: Path) -> bool:
    """Whether a process serves the staging area now. Raises StagingError."""
    path = _place(staging)
    if not os.path.exists(path):
        return False
    try:
        with flocked(path, "", shared=True, patience_seconds=0):
            return False
    except LockedError:
        return True


def _place(staging: Path) -> Path:
    return staging / ".mailhaul" / "serve.lock"
