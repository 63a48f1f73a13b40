"""One sweep at a time for each destination; runs, purges and sweeps to other destinations go on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..flocks import flocked


@contextmanager
def sweeping(staging: Path, destination: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """While the context lasts nobody else sweeps the staging area to this destination, or removes copies
    there. Raises LockedError, StagingError."""
    with flocked(
        staging / ".mailhaul" / "sweeps" / f"{destination}.lock",
        f"another sweep to {destination} goes on",
        patience_seconds=patience_seconds,
    ):
        yield
