"""How a run ended: what its units report, what failed, what was left out, and what looks like a loss."""

from __future__ import annotations

from collections.abc import Iterator

from ..proto.records import Departed, RunId, Skipped, UnitReport
from ..proto.structs import Record
from .alarms import Alarm
from .history import RunState
from .inventory import Failure
from .reasons import EXCLUDED, NO_FAULT


class RunResult(Record, kw_only=True):
    """How a run ended. ``skipped`` is all that its units did not read, and who was left out: what is
    missing (``left_out``), what is ``excluded``, and what had vanished.

    ``troubles`` are told beside that: nothing of the mail is missing for them. ``notices`` are what somebody
    should do some day; the run is not the worse for them.

    Of a run that was resumed, the units are those that were done since; ``sealed_before`` were done then.
    """

    run: RunId
    state: RunState
    reports: tuple[UnitReport, ...]
    failures: tuple[Failure, ...]
    skipped: tuple[Skipped, ...]
    alarms: tuple[Alarm, ...] = ()
    sealed_before: int = 0
    troubles: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[Skipped, ...]:
        """What should be in the backup and is not."""
        return tuple(skip for skip in self.skipped if skip.reason not in NO_FAULT)

    @property
    def excluded(self) -> tuple[Skipped, ...]:
        """What was left out on purpose."""
        return tuple(skip for skip in self.skipped if skip.reason in EXCLUDED)

    @property
    def unchanged(self) -> int:
        """How many units needed no archive."""
        return sum(report.archive is None for report in self.reports)

    def departed(self) -> Iterator[tuple[UnitReport, Departed]]:
        """The mailboxes that are gone as of this run, each with the report of its unit."""
        return ((report, one) for report in self.reports for one in report.departed)
