"""Whether anything was ever stored in a staging area: before the first backup there is nothing to verify, to
copy, to let go of or to prove, and that is no failure.

A staging area that was lost looks much the same, and is one. So nothing counts as stored only where nothing
speaks against that: neither what lies there, nor what the service has on record, nor any destination.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ..proto.errors import BackupError, NotFoundError
from ..worker.destinations.marks import MARK
from ..worker.destinations.registry import open_destination
from ..worker.destinations.settings import Destination, DirectoryDestination
from .catalog import Catalog
from .destinations import ready
from .service.database import place
from .service.operations import Operations

_OURS = ".mailhaul"
_LOST = "lost+found"
_RUNS = "_runs"
_ERASURES = "_erasures"


def nothing_stored(staging: Path, destinations: Sequence[Destination]) -> bool:
    """Whether nothing was stored yet in a staging area that somebody serves (whoever asks by hand about any
    other is to hear that there is no catalog). A destination that can't be asked may hold something."""
    try:
        return (
            place(staging).exists()
            and _holds_nothing(staging)
            and not Operations(staging).in_states(("done", "partial"), ("backup",))
            and all(_is_empty(one, staging) for one in destinations)
        )
    except (BackupError, OSError):
        return False  # what the command itself meets then says more


def _holds_nothing(staging: Path) -> bool:
    """No archive, and no catalog that knows of one: the first run may be under way, or have failed."""
    try:
        with Catalog.open(staging) as catalog:
            if any(True for _ in catalog.archives()) or catalog.purged_archives():
                return False
    except NotFoundError:
        return {_OURS, _LOST}.issuperset(os.listdir(staging))
    return not (staging / _ERASURES).exists() and not any(
        path.suffix == ".mha"
        for folder in staging.iterdir()
        if folder.is_dir() and folder.name not in (_OURS, _LOST, _RUNS)
        for path in folder.rglob("*")
    )


def _is_empty(settings: Destination, staging: Path) -> bool:
    if isinstance(settings, DirectoryDestination):
        return {MARK, _LOST}.issuperset(os.listdir(settings.path))
    with closing(open_destination(ready(settings, staging))) as found:
        return next(iter(found.list()), None) is None
