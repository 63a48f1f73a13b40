"""Whose queue it is."""

from __future__ import annotations

from pathlib import Path

from ...proto.errors import NotFoundError
from .configuration import staging_area
from .program import Invocation


def queue_area(invocation: Invocation, staging: Path | None) -> Path:
    """The staging area that an option or else the configuration names, which is there: one that is not,
    because its disk is not mounted, gets no queue. Raises ConfigError, UsageError, NotFoundError."""
    area = staging_area(invocation, staging)
    if not area.is_dir():
        raise NotFoundError(
            f"there is no staging area: {area}; the first `mailhaul backup`, or `mailhaul serve`, makes it",
            path=str(area),
        )
    return area
