"""What a purge is asked for, whom it tells of its course, and what it says in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...groups.paths import LogicalPath
from ...proto.records import Location, Progress, Skipped
from ...proto.structs import Record, field
from ...worker.archives.opened import Unlock
from ..history import Leftovers
from ..holds import Hold
from ..retention import RetentionRules
from ..settings import ArchiveConfig
from .plan import ScopePlan


class PurgeRequest(Record, kw_only=True):
    """What is to be purged: the groups below ``path``, each by its rules. An archive of which less than the
    share ``compact_below`` is needed is written anew; ``archive`` says how what has to be is compressed.
    ``unlock`` opens encrypted archives: without it blocks of which anything is needed stay whole."""

    path: LogicalPath
    rules_of: Callable[[str], RetentionRules]
    compact_below: float = 0.5
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    unlock: Unlock | None = None


class Deleted(Record):
    """An archive that nobody needs, and its size; ``staged``: it lay in the staging area."""

    file: str
    size_bytes: int
    staged: bool = True


class Compacted(Record, kw_only=True):
    """An archive that was written anew, and its size before and after."""

    file: str
    new_file: str
    size_bytes: int
    new_bytes: int


class PurgeReport(Record, kw_only=True):
    """What was purged, or would be: so many ``versions`` of mailboxes, and archives.

    ``failed`` are archives that could not be written anew, and stay as they are. ``left`` are files that
    could not be deleted yet, as somebody read archives all the time: the next purge does it. ``away`` are
    the copies that nobody needs any more in destinations: the next sweep has them removed. ``unneeded`` is
    what other programs keep, at its ``version``, and nobody needs any more; ``outdated`` what they keep of
    archives as they were before they were written anew, which does not count any more.
    """

    scopes: tuple[ScopePlan, ...]
    holds: tuple[Hold, ...]
    versions: int
    deleted: tuple[Deleted, ...]
    compacted: tuple[Compacted, ...]
    failed: tuple[Skipped, ...] = ()
    left: tuple[str, ...] = ()
    away: tuple[Leftovers, ...] = ()
    unneeded: tuple[Location, ...] = ()
    outdated: tuple[Location, ...] = ()

    @property
    def free_bytes(self) -> int:
        """How many bytes come free in the staging area."""
        compacted = sum(one.size_bytes - one.new_bytes for one in self.compacted)
        return compacted + sum(deleted.size_bytes for deleted in self.deleted if deleted.staged)


class PurgeObserver:
    """Is told how a purge goes on; does nothing with it."""

    def surveying(self, archives: int) -> None:
        """The metadata of so many archives is going to be read."""

    def compacting(self, files: Mapping[str, int]) -> None:
        """These archives are going to be written anew, which have so many bytes now."""

    def progress(self, progress: Progress) -> None:
        """So much was written of one of them, known by its file."""

    def compacted(self, file: str, new_bytes: int) -> None:
        """One of them is done, and has so many bytes now; none if it could not be done."""

    def waiting(self, reason: str) -> None:
        """Something is waited for."""
