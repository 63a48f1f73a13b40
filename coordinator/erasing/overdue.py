"""Which erasures should be done by now: copies whose locks have ended, and what nobody has finished."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.records import RunId
from ...proto.structs import Record
from ..run_ids import started_of
from .progress import Progress, Remaining, not_done

GRACE = timedelta(days=2)
"""What could be done from a time on should be done so long after it: two nights have swept and purged."""

WITHIN = timedelta(days=30)
"""So long after it was asked for all of an erasure should be gone, but for what is locked for longer: whoever
asked is to be answered within a month (GDPR, article 12, paragraph 3)."""


class Overdue(Record, kw_only=True):
    """An erasure that should be done ``since`` then, asked for at ``asked``: in the staging area (``here``),
    or the ``copies`` that should be gone. Times are aware UTC."""

    progress: Progress
    asked: datetime
    since: datetime
    here: bool
    copies: tuple[Remaining, ...]


def overdue(staging: Path, now: datetime) -> Iterator[Overdue]:
    """Those of a staging area at a time, oldest first."""
    for progress in not_done(staging):
        asked = started_of(RunId(progress.erasure))
        late = {one.key: one for one in progress.remaining if _due(one, asked) <= now}
        here = not progress.staged and asked + GRACE <= now
        since = [_due(one, asked) for one in late.values()]
        if here:
            since.append(asked + GRACE)
        if since:
            copies = tuple(late.values())
            yield Overdue(progress=progress, asked=asked, since=min(since), here=here, copies=copies)


def _due(one: Remaining, asked: datetime) -> datetime:
    return asked + WITHIN if one.until is None else one.until + GRACE
