"""A log of events with fields for programs, a line of JSON each. What people are to see is on their terminal.

Events are named ``thing.happened``. They tell of runs, units, hosts and users, with the texts of errors;
never of what is in a message, and no keys or tokens.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ...proto.errors import BackupError, StagingError
from ...proto.ports import Clock
from ...proto.records import Progress, RunId, Unit, UnitReport
from ..alarms import Alarm
from ..clock import utc
from ..history import RunState
from ..inventory import Failure
from ..observers import RunObserver
from ..plan import Plan
from ..reasons import EXCLUDED, NO_FAULT

Level = Literal["info", "warning", "error"]
LOCAL = "localhost"
"""The coordinator's host, where the configuration gives it no name."""

Write = Callable[[str], None]
"""Takes a whole line, without its end. Must not raise."""


class Log:
    """Makes each event a line: ``{"time": ..., "level": ..., "event": ..., FIELDS}``, in ASCII. Fields that
    are ``bound`` stand before those of the event."""

    def __init__(self, clock: Clock, write: Write, **bound: object) -> None:
        self._clock = clock
        self._write = write
        self._bound = bound

    def bind(self, **fields: object) -> Log:
        """The same log, with these fields bound too."""
        return Log(self._clock, self._write, **{**self._bound, **fields})

    def info(self, name: str, **fields: object) -> None:
        """What is to be expected."""
        self._tell(name, "info", fields)

    def warning(self, name: str, **fields: object) -> None:
        """What may pass by itself."""
        self._tell(name, "warning", fields)

    def error(self, name: str, error: BaseException, **fields: object) -> None:
        """What went wrong for good: the code and text of an error."""
        self._tell(name, "error", {**fields, **_told(error)})

    def note(self, name: str, fields: Mapping[str, object]) -> None:
        """What was told by a part of the program that knows no levels: what it refuses, or what fails there,
        is a warning."""
        level: Level = "warning" if name.endswith((".refused", ".failed")) else "info"
        self._tell(name, level, fields)

    def _tell(self, name: str, level: Level, fields: Mapping[str, object]) -> None:
        time = utc(self._clock.now()).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {"time": time, "level": level, "event": name, **self._bound, **fields}
        self._write(json.dumps(event, default=str))


def _told(error: BaseException) -> dict[str, object]:
    if isinstance(error, BackupError):
        return {"code": error.code, "error": error.message}
    return {"code": "unexpected", "error": str(error) or type(error).__name__}


class LogFile:
    """A file that lines are appended to, each in one write, so that several programs may share it. One that
    was moved away is made anew. Lines that can't be written (a full disk) are lost; how many, is told in the
    next that can."""

    def __init__(self, path: Path) -> None:
        """Raises StagingError if it can't be opened."""
        self._path = path
        self._lost = 0
        try:
            self._descriptor = _open(path)
        except OSError as error:
            raise StagingError(
                f"{path}: the log can't be written: {error.strerror}", path=str(path)
            ) from error

    def write(self, line: str) -> None:
        """A Write."""
        # The last line that was lost may be there in part.
        lost = f"\n{json.dumps({'event': 'log.lost', 'lines': self._lost})}\n" if self._lost else ""
        data = f"{lost}{line}\n".encode("utf-8", "backslashreplace")
        written = 0
        with suppress(OSError):
            self._follow()
            written = os.write(self._descriptor, data)
        self._lost = 0 if written == len(data) else self._lost + 1

    def close(self) -> None:
        """Not repeatable."""
        os.close(self._descriptor)

    def _follow(self) -> None:
        """Go on in a new file where log rotation has taken the old one away."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._descriptor)):
                return
        new = _open(self._path)
        os.close(self._descriptor)
        self._descriptor = new


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


class RunLog(RunObserver):
    """The events of a run."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._units: dict[str, Log] = {}
        self._units_waiting: dict[str, str] = {}
        self._waiting = ""

    def begun(self, run: RunId) -> None:
        """See RunObserver."""
        self._log = self._log.bind(run=run)
        self._log.info("run.started")

    def planned(self, plan: Plan) -> None:
        """See RunObserver."""
        self._units = {unit.label: self._bound(unit) for unit in plan.units}
        self._log.info(
            "run.planned",
            units=len(plan.units),
            mailboxes=sum(len(unit.users) for unit in plan.units),
            messages=sum(unit.messages for unit in plan.units),
            size_bytes=sum(unit.size_bytes for unit in plan.units),
            left_out=len(plan.left_out),
        )

    def attempted(self, unit: Unit, host: str, attempt: int) -> None:
        """See RunObserver."""
        log = self._units[unit.label] = self._bound(unit).bind(host=host or LOCAL, attempt=attempt)
        log.info("unit.started")

    def progress(self, progress: Progress) -> None:
        """See RunObserver. Only what a unit begins and ceases to wait for is worth a line."""
        if progress.waiting != self._units_waiting.get(progress.unit, ""):
            self._units_waiting[progress.unit] = progress.waiting
            log = self._of(progress.unit)
            if progress.waiting:
                log.warning("unit.waiting", reason=progress.waiting)
            else:
                log.info("unit.continued")

    def sealed(self, unit: Unit, report: UnitReport) -> None:
        """See RunObserver."""
        self._of(unit.label).info(
            "unit.sealed",
            file=report.name,
            mailboxes=len(report.mailboxes),
            messages=report.messages,
            read=report.read,
            departed=len(report.departed),
            size_bytes=report.size_bytes,
            new_bytes=report.new_bytes,
            archive_bytes=report.archive_bytes,
            seconds=round(report.seconds, 3),
            cpu_seconds=round(report.cpu_seconds, 3),
            skipped=dict(Counter(skip.reason for skip in report.skipped if skip.reason not in NO_FAULT)),
            excluded=dict(Counter(one.reason for one in report.skipped if one.reason in EXCLUDED)),
        )

    def alarmed(self, alarm: Alarm) -> None:
        """See RunObserver."""
        fields = {"path": alarm.path, "reason": alarm.reason, "detail": alarm.detail}
        self._log.warning("run.alarmed", **fields, held=len(alarm.held))

    def noticed(self, text: str) -> None:
        """See RunObserver."""
        self._log.warning("run.noticed", notice=text)

    def minding(self, text: str) -> None:
        """See RunObserver."""
        self._log.warning("run.minding", notice=text)

    def failed(self, failure: Failure) -> None:
        """See RunObserver."""
        if failure.what in self._units:
            self._of(failure.what).error("unit.failed", failure.error)
        else:
            self._log.error("partition.failed", failure.error, what=failure.what)

    def host_changed(self, host: str, error: BackupError | None) -> None:
        """See RunObserver."""
        if error is None:
            self._log.info("host.back", host=host)
        else:
            self._log.warning("host.lost", host=host, code=error.code, error=error.message)

    def waiting(self, reason: str) -> None:
        """See RunObserver. Told once, however often it is heard."""
        if reason != self._waiting:
            self._waiting = reason
            if reason:
                self._log.info("run.waiting", reason=reason)
            else:
                self._log.info("run.continued")

    def ended(self, state: RunState, error: BaseException | None = None) -> None:
        """See RunObserver."""
        if error is None:
            self._log.info("run.ended", state=state)
        else:
            self._log.error("run.ended", error, state=state)

    def _bound(self, unit: Unit) -> Log:
        return self._log.bind(partition=unit.partition.name, group=unit.group, shard=unit.shard)

    def _of(self, label: str) -> Log:
        return self._units.get(label, self._log)
