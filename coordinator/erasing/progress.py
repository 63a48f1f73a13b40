"""How far erasures are: ``.mailhaul/erasures/ID.json``. What is lost of it is found out anew, by looking at
all archives and all copies once more.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from ...proto.records import RunId, Skipped
from ...proto.structs import Record, replace
from ..catalog.snapshots import Snapshot, stem_of
from ..durable import replace_durably
from ..snapshots import as_json, read_snapshot
from .record import erasure_ids


class Step(Record):
    """Something that was done, and when (aware)."""

    at: datetime
    what: str


def counted(count: int, one: str, many: str = "") -> str:
    """``1 copy``, ``2 copies``: for what was done."""
    return f"{count} {one if count == 1 else many or one + 's'}"


class Remaining(Record, kw_only=True):
    """A copy in which something of the mailbox may be: at a ``place``, of so many bytes. ``until``: it can't
    be removed before; None where that is not known, ``why`` says what holds it. Without a ``name`` it stands
    for all that may be at a place where nobody could look."""

    place: str
    name: str = ""
    version: str = ""
    size_bytes: int = 0
    until: datetime | None = None
    why: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Which copy it is."""
        return self.place, self.name, self.version


class Progress(Record, kw_only=True):
    """What was done of an erasure (``steps``), the copies that are still to go (``remaining``), and archives
    that could not be rewritten so far, and why (``undone``).

    ``staged``: nothing of it is left in the staging area. ``snapshot`` is the first snapshot of the catalog
    that knows nothing of the mailboxes, as text: earlier ones go. Somebody says that all is ``destroyed``
    which was at these places, or kept at these locations by other programs. ``ended`` is set when all is
    done.
    """

    erasure: str
    steps: tuple[Step, ...] = ()
    staged: bool = False
    snapshot: str = ""
    remaining: tuple[Remaining, ...] = ()
    undone: tuple[Skipped, ...] = ()
    removed: int = 0
    destroyed: tuple[str, ...] = ()
    ended: datetime | None = None

    @property
    def state(self) -> Literal["begun", "due", "done"]:
        """``due``: copies are left that could not go yet."""
        if self.ended is not None:
            return "done"
        return "due" if self.staged else "begun"


def read_progress(staging: Path, erasure: RunId) -> Progress:
    """How far an erasure is; as if it had just begun where that is not known."""
    found = read_snapshot(_place(staging, erasure), Progress)
    return found if found is not None and found.erasure == erasure else Progress(erasure=erasure)


def write_progress(staging: Path, progress: Progress) -> None:
    """Record it, durably. Raises StagingError."""
    text = as_json(progress) + "\n"
    replace_durably(_place(staging, progress.erasure), text.encode("ascii"))


def not_done(staging: Path) -> tuple[Progress, ...]:
    """The erasures that are not done, oldest first."""
    found = (read_progress(staging, run_id) for run_id in erasure_ids(staging))
    return tuple(progress for progress in found if progress.ended is None)


def first_clean_snapshot(staging: Path) -> Snapshot | None:
    """The first snapshot of the catalog that knows nothing of any mailbox that was erased; None if none
    was."""
    found = (stem_of(read_progress(staging, RunId(path.stem)).snapshot) for path in _files(staging))
    return max((snapshot for snapshot in found if snapshot is not None), default=None)


def reopen(staging: Path) -> None:
    """All erasures have to look at all archives and copies once more: what was erased may be there again.
    Raises StagingError."""
    for path in _files(staging):
        progress = read_progress(staging, RunId(path.stem))
        write_progress(staging, replace(progress, staged=False, ended=None))


def _files(staging: Path) -> list[Path]:
    return sorted(_folder(staging).glob("*.json"))


def _folder(staging: Path) -> Path:
    return staging / ".mailhaul" / "erasures"


def _place(staging: Path, erasure: str) -> Path:
    return _folder(staging) / f"{erasure}.json"
