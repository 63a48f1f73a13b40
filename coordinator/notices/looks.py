"""The looks at what lasts by itself, all together: after each command of the night, and now and then."""

from __future__ import annotations

from datetime import datetime

from ..erasing.overdue import overdue
from ..settings import Config
from . import conditions
from .erasure_notices import erasures
from .raising import remind
from .spaces import Spaces


def look(config: Config, spaces: Spaces, now: datetime) -> None:
    """Put on record what is so now and what is over, and that what lasts is said again where it is time to.
    Raises as ``raise_notice``."""
    staging = config.staging.path
    conditions.reconcile(staging, "tape-wanted", conditions.volumes(staging), now)
    every = config.encryption.check_every_seconds
    conditions.reconcile(staging, "key-overdue", conditions.keys(staging, now, every), now)
    conditions.reconcile(staging, "erasure-due", erasures(overdue(staging, now)), now)
    conditions.released(staging, now)
    conditions.taken_out(config, now)
    spaces.look(now)
    remind(staging, now)
