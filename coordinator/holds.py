"""What must not be purged, whatever the rules say: mailboxes and runs that somebody holds, or an alarm does.

They are kept in ``holds.json`` of the staging area, beside the catalog and not in it: that can be made again
from archives, holds can't.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.errors import DamagedError, NotFoundError, StagingError, UsageError
from ..proto.records import RunId
from ..proto.structs import Record
from .clock import RUN_ID
from .durable import replace_durably
from .flocks import flocked

_FILE = "holds.json"
_PATIENCE_SECONDS = 10.0


class Hold(Record, kw_only=True):
    """A hold on all mailboxes below a path (``/partition/group/user`` at most), or on a run.

    ``since`` is aware; ``automatic`` ones are alarms, set by the program itself, and so are those of a
    ``restore`` that can be taken back as long as they last. Raises UsageError unless there is either a path
    or a run, or for a path into a mailbox.
    """

    path: str | None = None
    run: RunId | None = None
    reason: str = ""
    since: datetime
    automatic: bool = False
    restore: str = ""

    def __post_init__(self) -> None:
        if (self.path is None) == (self.run is None):
            raise UsageError("a hold is on a path or on a run")
        if self.run is not None and not RUN_ID.fullmatch(self.run):
            raise UsageError(f"{self.run!r} is no run id")
        if self.path is not None and LogicalPath.parse(self.path).folder is not None:
            raise UsageError(f"{self.path}: a hold is on a mailbox as a whole", path=self.path)

    @property
    def what(self) -> str:
        """The path or the run."""
        return self.path or str(self.run)


class Holds:
    """The holds of a staging area as they were at one time, in the order in which they were set."""

    def __init__(self, holds: tuple[Hold, ...] = ()) -> None:
        self.all = holds
        self._runs = {hold.run for hold in holds if hold.run is not None}
        self._mailboxes: set[tuple[str, str]] = set()
        self._wider: list[LogicalPath] = []
        for path in (LogicalPath.parse(one.path) for one in holds if one.path is not None):
            if path.partition is not None and path.user is not None:
                self._mailboxes.add((path.partition, path.user))
            else:
                self._wider.append(path)

    def holds_user(self, partition: str, group: str, user: str) -> bool:
        """Whether a mailbox is held. Groups are views of the same mailboxes: a hold on a mailbox is one in
        all groups of its partition. One on a group is on what is stored as that group."""
        if (partition, user) in self._mailboxes:
            return True
        whose = LogicalPath(partition, group, user)
        return any(path.covers(whose) for path in self._wider)

    def holds_run(self, run: RunId) -> bool:
        """Whether a run is held."""
        return run in self._runs

    @property
    def at_hand(self) -> Holds:
        """Those for which archives stay in the staging area: somebody looks into a case. What a restore needs
        to be taken back may lie anywhere."""
        return Holds(tuple(hold for hold in self.all if not hold.restore))

    def below(self, path: LogicalPath) -> tuple[Hold, ...]:
        """The holds on a path, or on anything that it covers."""
        return tuple(hold for hold in self.all if hold.path and _covers(path, LogicalPath.parse(hold.path)))


def read_holds(staging: Path) -> Holds:
    """The holds as they are now. Raises DamagedError, StagingError."""
    path = _place(staging)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Holds()
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    try:
        return Holds(tuple(map(_decoded, json.loads(text)["holds"])))
    except (AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
        # Without it nobody knows what must not be purged: nothing may go on as if there were no holds.
        raise DamagedError(
            f"{path} is damaged: {error}; mend it by hand, or remove it, which releases all holds",
            path=str(path),
        ) from error


def holds_identity(staging: Path) -> tuple[int, ...]:
    """What changes whenever the holds do, for who keeps them in memory; empty while there are none. Raises
    StagingError."""
    path = _place(staging)
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def add_hold(staging: Path, hold: Hold) -> bool:
    """``add_holds`` of one; whether it is new."""
    return add_holds(staging, (hold,)) == 1


def add_holds(staging: Path, holds: Iterable[Hold]) -> int:
    """Add holds, durably, and return how many are new: what is held already, by a person or by an alarm as
    the new hold is, stays as it is. From the return on, nothing of it is purged.

    Raises LockedError while a purge goes on, DamagedError, StagingError.
    """
    with frozen_holds(staging) as known:
        there = {_identity(hold) for hold in known.all}
        new = {_identity(one): one for one in holds if _identity(one) not in there}
        if new:
            _write(staging, (*known.all, *new.values()))
        return len(new)


def release(staging: Path, what: LogicalPath | RunId) -> tuple[Hold, ...]:
    """Take back the holds on a path and all that it covers, or on a run; returns them.

    Raises NotFoundError if there are none, LockedError while a purge goes on, DamagedError, StagingError.
    """
    with frozen_holds(staging) as holds:
        if isinstance(what, LogicalPath):
            gone = holds.below(what)
        else:
            gone = tuple(hold for hold in holds.all if hold.run == what)
        if not gone:
            raise NotFoundError(f"{what}: there is no hold on it", what=str(what))
        _write(staging, tuple(one for one in holds.all if one not in gone))
        return gone


def drop_holds_of(staging: Path, is_over: Callable[[str], bool]) -> None:
    """Drop the holds of restores, by their ids, that are over. That is asked while nobody can add any: else
    those of a restore that has begun meanwhile would go. Raises as ``add_holds``."""

    def goes(hold: Hold) -> bool:
        return bool(hold.restore) and is_over(hold.restore)

    if not any(map(goes, read_holds(staging).all)):
        return
    with frozen_holds(staging) as holds:
        _write(staging, tuple(one for one in holds.all if not goes(one)))


@contextmanager
def frozen_holds(staging: Path) -> Iterator[Holds]:
    """The holds, which nobody changes while the context lasts. Raises LockedError if somebody else is in it
    for longer than ten seconds: a purge; DamagedError, StagingError."""
    path = _place(staging).with_suffix(".lock")
    with flocked(path, "a purge goes on, and holds stay as they are", patience_seconds=_PATIENCE_SECONDS):
        yield read_holds(staging)


def _covers(path: LogicalPath, other: LogicalPath) -> bool:
    if path.user is not None:
        return (path.partition, path.user) == (other.partition, other.user)
    return path.covers(other)


def _identity(hold: Hold) -> tuple[object, ...]:
    return hold.path, hold.run, hold.automatic, hold.restore


def _place(staging: Path) -> Path:
    return staging / ".mailhaul" / _FILE


def _write(staging: Path, holds: tuple[Hold, ...]) -> None:
    document = {"holds": list(map(_encoded, holds))}
    replace_durably(_place(staging), (json.dumps(document, indent=1) + "\n").encode("ascii"))


def _encoded(hold: Hold) -> dict[str, object]:
    return {
        "path": hold.path,
        "run": hold.run,
        "reason": hold.reason,
        "since": hold.since.astimezone(UTC).isoformat(timespec="seconds"),
        "automatic": hold.automatic,
        **({"restore": hold.restore} if hold.restore else {}),
    }


def _decoded(row: Mapping[str, object]) -> Hold:
    path, run = row["path"], row["run"]
    since = datetime.fromisoformat(str(row["since"]))
    if since.tzinfo is None:
        raise ValueError("a time without an offset")
    return Hold(
        path=None if path is None else str(path),
        run=None if run is None else RunId(str(run)),
        reason=str(row["reason"]),
        since=since,
        automatic=row["automatic"] is True,
        restore=str(row.get("restore", "")),
    )
