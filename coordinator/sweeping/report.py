"""What a sweep is asked for, whom it tells of its course, and what it says in the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EXIT_SKIPPED
from ...proto.records import Location, Progress, Skipped
from ...proto.structs import Mutable, Record, field
from ...worker.destinations.settings import Destination
from ..settings import RetentionConfig, SweepConfig


class SweepRequest(Record, kw_only=True):
    """What is to be swept: the groups below ``path``, by the rules of ``config``, to ``destinations``; or at
    once to the one that is called ``to``, whatever the rules. So many bytes (``reserve_bytes``) of the
    staging area's file system should be free. For how long copies are locked follows from ``retention``.
    What can't be reached is tried again for ``patience_seconds``."""

    path: LogicalPath = field(default_factory=LogicalPath)
    to: str = ""
    config: SweepConfig = field(default_factory=SweepConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    destinations: tuple[Destination, ...] = ()
    reserve_bytes: int = 0
    patience_seconds: float = 30.0


class DestinationReport(Mutable, kw_only=True):
    """What was done at one destination.

    ``copied`` archives (``copied_bytes``) and ``companions``, files that lie beside them, were put there;
    of ``looked`` copies so many count from now on, ``lost`` ones are not there any more. So many ``locks``
    were set anew; ``unlocked`` copies were to be locked, and are not (any more). So many archives that are to
    have a copy there are ``out_of_reach``: they lie only on volumes that are away, in cold storage, or where
    other programs keep them.

    ``removed`` copies were needed by nobody; ``locked`` are those that it does not let go of yet, ``refused``
    says why it removes others not at all. ``failed`` is what could not be done, by name; ``stopped`` why it
    was left alone, in its own words. ``waiting`` copies were to be made and were not tried.
    """

    name: str
    copied: int = 0
    copied_bytes: int = 0
    companions: int = 0
    looked: int = 0
    lost: list[str] = field(default_factory=list)
    out_of_reach: int = 0
    locks: int = 0
    unlocked: list[Skipped] = field(default_factory=list)
    removed: int = 0
    locked: list[tuple[str, datetime | None]] = field(default_factory=list)
    refused: list[Skipped] = field(default_factory=list)
    failed: list[Skipped] = field(default_factory=list)
    stopped: Skipped | None = None
    waiting: int = 0

    @property
    def in_order(self) -> bool:
        """Whether all was done that was to be done."""
        return self.stopped is None and not (self.failed or self.lost or self.unlocked)

    @property
    def all_failed(self) -> bool:
        """Whether something was to be done and nothing was."""
        done = self.copied or self.companions or self.looked or self.removed or self.locks
        return not done and (self.stopped is not None or bool(self.failed))


class SweepReport(Record, kw_only=True):
    """What was swept. ``damaged`` are archives that were not copied since they are; ``freed`` those whose
    staging space was freed; ``left`` are such for which it could not, as somebody read archives. ``unneeded``
    is what other programs keep, at its ``version``, and nobody needs any more."""

    destinations: tuple[DestinationReport, ...]
    damaged: tuple[Skipped, ...] = ()
    freed: tuple[str, ...] = ()
    freed_bytes: int = 0
    left: tuple[str, ...] = ()
    unneeded: tuple[Location, ...] = ()

    def facts(self) -> dict[str, object]:
        """For those who are told of it in short."""
        return {
            "copied": sum(destination.copied for destination in self.destinations),
            "copied_bytes": sum(report.copied_bytes for report in self.destinations),
            "freed": len(self.freed),
            "freed_bytes": self.freed_bytes,
            "failed": [
                destination_report.name
                for destination_report in self.destinations
                if not destination_report.in_order
            ],
            "damaged": len(self.damaged),
            "state": "done" if self.exit_code == EXIT_OK else "partial",
        }

    @property
    def exit_code(self) -> int:
        """What it comes to, for a script."""
        if self.damaged:
            return EXIT_DAMAGED
        if self.destinations and all(destination.all_failed for destination in self.destinations):
            return EXIT_FAILED
        return EXIT_OK if all(report.in_order for report in self.destinations) else EXIT_SKIPPED


class SweepObserver:
    """Is told how a sweep goes on; does nothing with it."""

    def copying(self, batches: Mapping[str, int]) -> None:
        """These batches of files are going to be copied, which have so many bytes."""

    def progress(self, progress: Progress) -> None:
        """So much of a batch was copied."""

    def copied(self, batch: str, copied_bytes: int) -> None:
        """A batch has ended."""

    def stopped(self, destination: str, why: str) -> None:
        """A destination is left alone for this time."""

    def waiting(self, reason: str) -> None:
        """Something is waited for."""
