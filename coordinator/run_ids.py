"""The ids of runs, and of erasures: each is given out once, also after a rebuild of the catalog, and whatever
the clock says.

``run-id`` beside the catalog has the last one that was given out; where that is lost too, the names of
archives tell which there were.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from ..proto.errors import BackupError
from ..proto.records import RunId
from .catalog import Catalog
from .catalog.snapshots import FOLDER
from .clock import RUN_ID, utc
from .durable import replace_durably
from .erasing.record import erasure_ids

_STAMP = "%Y%m%dT%H%M%SZ"
_STAMP_LENGTH = len("20261121T031500Z")
_LAST_SERIAL = 0xFFFF


def new_run_id(now: float, after: RunId | None = None) -> RunId:
    """The id of a run that starts now: the time in UTC, and four hex digits, by chance.

    ``after`` is the newest run so far; the new id always sorts behind it, also within the same
    second and where the clock was set back. Then it continues the time and digits of ``after``. Raises
    BackupError where none is left.
    """
    stamp = utc(now).strftime(_STAMP)
    if after is None or stamp > after[:_STAMP_LENGTH]:
        return RunId(f"{stamp}-{os.urandom(2).hex()}")
    stamp, serial = after[:_STAMP_LENGTH], int(after[_STAMP_LENGTH + 1 :], 16)
    if serial < _LAST_SERIAL:
        return RunId(f"{stamp}-{serial + 1:04x}")
    try:
        following = datetime.strptime(stamp, _STAMP) + timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise BackupError(f"no id of a run sorts behind {after}", run=after) from error
    return RunId(f"{following.strftime(_STAMP)}-0000")


def started_of(run: RunId) -> datetime:
    """When a run began, to the second, as its id has it."""
    return datetime.strptime(run[:_STAMP_LENGTH], _STAMP).replace(tzinfo=UTC)


def newest_given(staging: Path, catalog: Catalog) -> RunId | None:
    """The last run id that was given out in a staging area; None if none was."""
    known = [run_id for run_id in (catalog.newest_run(), _noted(staging)) if run_id is not None]
    if len(known) < 2:  # the catalog is new, or was made anew
        known += _named(staging)
    # What a run stores that sorts before an erasure would be taken for what was erased.
    known += erasure_ids(staging)
    return max(known, default=None)


def note_given(staging: Path, run: RunId) -> None:
    """Record that a run id is given out, before it is used. Raises StagingError."""
    replace_durably(_place(staging), f"{run}\n".encode())


def _noted(staging: Path) -> RunId | None:
    with suppress(OSError, UnicodeDecodeError):
        text = _place(staging).read_text("ascii").strip()
        if RUN_ID.fullmatch(text):
            return RunId(text)
    return None


def _named(staging: Path) -> Iterator[RunId]:
    """The runs in the names of archives, also of those that are not whole, and of snapshots."""
    for path in chain(staging.glob("[!.]*/*/*.mh[ar]*"), staging.glob(f"{FOLDER}/*")):
        found = RUN_ID.match(path.name)
        if found is not None:
            yield RunId(found[0])


def _place(staging: Path) -> Path:
    return staging / ".mailhaul" / "run-id"
