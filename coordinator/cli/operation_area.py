"""Whose queue, and whose staging area it is."""

from __future__ import annotations

import os
from pathlib import Path

from ...proto.errors import NotFoundError, UsageError
from ..people.local_user import user_name
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


def own_area(invocation: Invocation, staging: Path | None) -> Path:
    """The staging area that an option or else the configuration names, to be written to. Raises as
    ``refuse_foreign``, and ConfigError."""
    area = staging_area(invocation, staging)
    refuse_foreign(area)
    return area


def refuse_foreign(area: Path) -> None:
    """What root makes in the staging area of another user is closed to that user, and so to its
    `mailhaul serve`. Raises UsageError."""
    kept = area / ".mailhaul"
    owner = (kept if kept.is_dir() else area).stat().st_uid if area.is_dir() else 0
    if os.geteuid() == 0 and owner != 0:
        name = user_name(owner)
        raise UsageError(
            f"{area} is the staging area of {name}, who can't read what root makes there; as that user: "
            f"`runuser -u {name} -- mailhaul ...`",
            path=str(area),
        )


def own_queue_area(invocation: Invocation, staging: Path | None) -> Path:
    """As ``queue_area``, to be written to. Raises as ``refuse_foreign``, too."""
    area = queue_area(invocation, staging)
    refuse_foreign(area)
    return area
