"""The queue at a glance, for those who only look."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...proto.errors import BackupError
from ...proto.structs import Record
from ..service.database import place
from ..service.operations import Operations
from ..service.records import NOT_ENDED, UNDER_WAY, Operation
from .serve_lock import is_served


class QueueStanding(Record, kw_only=True):
    """``served``: `mailhaul serve` runs. Operations that are ``going`` and that are ``waiting``, the oldest
    first; of each kind the one that ended last, if it ``failed``."""

    served: bool
    going: tuple[Operation, ...]
    waiting: tuple[Operation, ...]
    failed: tuple[Operation, ...]


def listing(operations: Operations, last: int) -> tuple[Operation, ...]:
    """All that wait, are under way or were interrupted, and so many of those that have ended, the newest;
    the oldest first."""
    standing = operations.in_states((*NOT_ENDED, "interrupted"))
    ids = {one.id for one in standing}
    newest = operations.newest(last + len(standing))
    ended = [one for one in newest if one.ended is not None and one.id not in ids][:last]
    return tuple(sorted((*standing, *ended), key=lambda one: one.id))


def queue_standing(staging: Path) -> QueueStanding | None:
    """None where there is no queue yet, or none that this user may read."""
    if not place(staging).exists():
        return None
    with suppress(BackupError):
        queue = Operations(staging)
        return QueueStanding(
            served=is_served(staging),
            going=queue.in_states(UNDER_WAY),
            waiting=queue.in_states(("waiting", "interrupted")),
            failed=tuple(end for end in queue.last_ends().values() if end.state == "failed"),
        )
    return None
