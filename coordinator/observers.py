"""Who is told how a run goes on: displays, metrics, the log."""

from __future__ import annotations

from ..proto.errors import BackupError
from ..proto.records import Progress, RunId, Unit, UnitReport
from .alarms import Alarm
from .history import RunState
from .inventory import Failure
from .plan import Plan


class RunObserver:
    """Is told how a run goes on. Each method does nothing: an observer has those that matter to it.

    They must be quick, because the run waits for them, and must not raise.
    """

    def begun(self, run: RunId) -> None:
        """The run holds the lock, and begins."""

    def planned(self, plan: Plan) -> None:
        """The units are known; the work begins."""

    def attempted(self, unit: Unit, host: str, attempt: int) -> None:
        """A worker on this host begins with a unit, as this attempt counted from 1; an empty name stands
        for the coordinator's host."""

    def progress(self, progress: Progress) -> None:
        """A unit has come further."""

    def sealed(self, unit: Unit, report: UnitReport) -> None:
        """A unit is sealed and committed; or nothing in it had changed, and that is recorded."""

    def alarmed(self, alarm: Alarm) -> None:
        """Something looks like a loss; its mailboxes are held."""

    def noticed(self, text: str) -> None:
        """Something is to be done some day, by somebody who reads this; the run is not the worse for it."""

    def minding(self, text: str) -> None:
        """The users of a mail host can't be minded, or can be again: this line says so. Called by another
        thread than the rest."""

    def failed(self, failure: Failure) -> None:
        """A unit or partition was given up."""

    def host_changed(self, host: str, error: BackupError | None) -> None:
        """A host is gone or can't be reached, for this reason; or it is there again (None)."""

    def waiting(self, reason: str) -> None:
        """Nothing is begun, for this reason in a few words; empty: the run goes on. May be told again."""

    def ended(self, state: RunState, error: BaseException | None = None) -> None:
        """The run is over; ``error`` is what ended it early. Nothing is told after this."""


class Observers(RunObserver):
    """Tells several observers, in turn."""

    def __init__(self, *observers: RunObserver) -> None:
        self._observers = observers

    def begun(self, run: RunId) -> None:
        for observer in self._observers:
            observer.begun(run)

    def planned(self, plan: Plan) -> None:
        for observer in self._observers:
            observer.planned(plan)

    def attempted(self, unit: Unit, host: str, attempt: int) -> None:
        for observer in self._observers:
            observer.attempted(unit, host, attempt)

    def progress(self, progress: Progress) -> None:
        for observer in self._observers:
            observer.progress(progress)

    def sealed(self, unit: Unit, report: UnitReport) -> None:
        for observer in self._observers:
            observer.sealed(unit, report)

    def alarmed(self, alarm: Alarm) -> None:
        for observer in self._observers:
            observer.alarmed(alarm)

    def noticed(self, text: str) -> None:
        for observer in self._observers:
            observer.noticed(text)

    def minding(self, text: str) -> None:
        for observer in self._observers:
            observer.minding(text)

    def failed(self, failure: Failure) -> None:
        for observer in self._observers:
            observer.failed(failure)

    def host_changed(self, host: str, error: BackupError | None) -> None:
        for observer in self._observers:
            observer.host_changed(host, error)

    def waiting(self, reason: str) -> None:
        for observer in self._observers:
            observer.waiting(reason)

    def ended(self, state: RunState, error: BaseException | None = None) -> None:
        for observer in self._observers:
            observer.ended(state, error)
