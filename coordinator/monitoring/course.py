"""The course of a run as one looks at it: what its observer was told, added up into a RunStatus.

May be told by one thread and asked by others.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from datetime import datetime
from typing import Literal

from ...proto.errors import BackupError
from ...proto.ports import Clock
from ...proto.records import Progress, RunId, Unit, UnitReport
from ...proto.structs import Mutable, field
from ..clock import utc
from ..history import RunState
from ..inventory import Failure
from ..observers import RunObserver
from ..plan import Plan
from .status import Done, FailureStatus, GroupStatus, HostStatus, RunStatus, UnitCounts, UnitStatus

LOST = "the host is lost"
"""What a unit waits for whose host is lost."""

_LISTED_FAILURES = 100
_RATE_SECONDS = 30.0
_SAMPLE_SECONDS = 0.5

_State = Literal["planned", "running", "sealed", "failed"]


class _Group(Mutable):
    """What a group has come to in a partition."""

    units: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)


class _UnitCourse(Mutable):
    """What a unit has come to. ``done`` is the furthest that any attempt at it came, ``told`` where the one
    that goes on is."""

    unit: Unit
    group: _Group
    since: datetime
    state: _State = "planned"
    host: str = ""
    attempt: int = 1
    told: Progress | None = None
    waiting: str = ""
    done: Counter[str] = field(default_factory=Counter)


class Course(RunObserver):
    """A run that is watched; see ``status``."""

    def __init__(self, clock: Clock, pid: int) -> None:
        self._clock = clock
        self._pid = pid
        self._lock = threading.Lock()
        self._since = utc(clock.now())
        self._run = ""
        self._state: RunState = "running"
        self._error = ""
        self._waiting = ""
        self._units: dict[str, _UnitCourse] = {}
        self._running: dict[str, _UnitCourse] = {}
        self._groups: dict[tuple[str, str], _Group] = {}
        self._hosts: dict[str, str] = {}
        self._all = _Group()
        self._rest: Counter[str] = Counter()
        self._failures: list[FailureStatus] = []
        self._failed: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._meter = _Meter(clock.monotonic())

    def begun(self, run: RunId) -> None:
        """See RunObserver."""
        with self._lock:
            self._run = run
            self._since = utc(self._clock.now())

    def planned(self, plan: Plan) -> None:
        """See RunObserver."""
        with self._lock:
            for unit in plan.units:
                group = self._groups.setdefault((unit.partition.name, unit.group), _Group())
                self._units[unit.label] = _UnitCourse(unit, group, self._since)
                self._count(group, "planned", 1)
                self._rest += _expected(unit)
                for host in unit.partition.hosts:
                    self._hosts.setdefault(host, "")
            self._skipped.update(skip.reason for skip in plan.left_out)

    def attempted(self, unit: Unit, host: str, attempt: int) -> None:
        """See RunObserver."""
        with self._lock:
            found = self._begin(unit.label)
            if found is not None:
                found.host, found.attempt, found.since = host, attempt, utc(self._clock.now())
                found.told, found.waiting = None, ""
                if host:
                    self._hosts.setdefault(host, "")

    def progress(self, progress: Progress) -> None:
        """See RunObserver. What is told late, of a unit that has ended, is left out."""
        with self._lock:
            found = self._begin(progress.unit)
            if found is not None:
                found.told, found.waiting = progress, progress.waiting
                self._advance(
                    found,
                    messages=progress.messages,
                    size_bytes=progress.size_bytes,
                    new_bytes=progress.new_bytes,
                    archive_bytes=progress.archive_bytes,
                )

    def sealed(self, unit: Unit, report: UnitReport) -> None:
        """See RunObserver."""
        with self._lock:
            self._skipped.update(skip.reason for skip in report.skipped)
            found = self._begin(unit.label)
            if found is not None:
                self._advance(
                    found,
                    messages=report.messages,
                    size_bytes=report.size_bytes,
                    new_bytes=report.new_bytes,
                    archive_bytes=report.archive_bytes,
                    deduplicated_bytes=report.size_bytes - report.new_bytes,
                )
                self._end(found, "sealed")

    def failed(self, failure: Failure) -> None:
        """See RunObserver."""
        with self._lock:
            error = failure.error
            self._failed[error.code] += 1
            if len(self._failures) < _LISTED_FAILURES:
                told = FailureStatus(what=failure.what, code=error.code, message=error.message)
                self._failures.append(told)
            found = self._begin(failure.what)
            if found is not None:
                self._end(found, "failed")

    def host_changed(self, host: str, error: BackupError | None) -> None:
        """See RunObserver."""
        with self._lock:
            self._hosts[host] = "" if error is None else error.message
            for course in self._running.values():
                if error is not None and course.host == host:
                    course.waiting = LOST

    def waiting(self, reason: str) -> None:
        """See RunObserver."""
        with self._lock:
            self._waiting = reason

    def ended(self, state: RunState, error: BaseException | None = None) -> None:
        """See RunObserver."""
        with self._lock:
            self._state = state
            self._waiting = ""
            self._error = "" if error is None else str(error) or type(error).__name__

    def status(self) -> RunStatus:
        """The run as it is now."""
        with self._lock:
            done, rest = self._all.done, self._rest
            self._meter.tell(self._clock.monotonic(), done["messages"], done["size_bytes"])
            messages_per_second, bytes_per_second = self._meter.rates()
            left = rest["size_bytes"] / bytes_per_second if bytes_per_second and rest["size_bytes"] else None
            running = Counter(course.host for course in self._running.values())
            return RunStatus(
                run=self._run,
                pid=self._pid,
                since=self._since,
                written=utc(self._clock.now()),
                state=self._state,
                error=self._error,
                waiting=self._waiting,
                counts=UnitCounts(**self._all.units),
                done=Done(**done),
                expected_messages=done["messages"] + rest["messages"],
                expected_bytes=done["size_bytes"] + rest["size_bytes"],
                messages_per_second=messages_per_second,
                bytes_per_second=bytes_per_second,
                left_seconds=left,
                groups=tuple(
                    GroupStatus(
                        partition=partition,
                        group=name,
                        units=UnitCounts(**group.units),
                        done=Done(**group.done),
                    )
                    for (partition, name), group in sorted(self._groups.items())
                ),
                units=tuple(_unit_status(label, unit_course) for label, unit_course in self._running.items()),
                hosts=tuple(
                    HostStatus(host=host, running=running[host], lost=lost)
                    for host, lost in sorted(self._hosts.items())
                ),
                failures=tuple(self._failures),
                failed=dict(self._failed),
                skipped=dict(self._skipped),
            )

    def _begin(self, label: str) -> _UnitCourse | None:
        """A unit that has not ended, which runs from now on; None if it has, or is none of this run."""
        found = self._units.get(label)
        if found is not None and found.state == "planned":
            self._count(found.group, "planned", -1)
            self._count(found.group, "running", 1)
            found.state, found.since = "running", utc(self._clock.now())
            self._running[label] = found
        return found if found is not None and found.state == "running" else None

    def _end(self, one: _UnitCourse, state: _State) -> None:
        self._running.pop(one.unit.label)
        self._count(one.group, "running", -1)
        self._count(one.group, state, 1)
        self._rest -= _rest(one)
        one.state = state

    def _advance(self, one: _UnitCourse, **done: int) -> None:
        """Count what goes beyond the furthest so far. Two attempts may tell in turn: the one that was cut off
        goes on for a while."""
        before = _rest(one)
        further = Counter(done) - one.done
        for counts in (one.done, one.group.done, self._all.done):
            counts.update(further)
        self._rest -= before - _rest(one)

    def _count(self, group: _Group, state: _State, change: int) -> None:
        for counts in (group.units, self._all.units):
            counts[state] += change


def _expected(unit: Unit) -> Counter[str]:
    """What a unit is thought to hold; a negative count is not known."""
    return Counter(messages=max(0, unit.messages), size_bytes=max(0, unit.size_bytes))


def _rest(one: _UnitCourse) -> Counter[str]:
    """What is left of a unit: a difference of Counters has no negative counts."""
    return _expected(one.unit) - one.done


def _unit_status(label: str, one: _UnitCourse) -> UnitStatus:
    told = one.told or Progress(label, 0, 0)
    return UnitStatus(
        unit=label,
        host=one.host,
        attempt=one.attempt,
        since=one.since,
        user=told.mailbox,
        messages=told.messages,
        size_bytes=told.size_bytes,
        expected_bytes=max(0, one.unit.size_bytes, told.size_bytes),
        waiting=one.waiting,
    )


class _Meter:
    """Rates over the last half minute."""

    def __init__(self, now: float) -> None:
        self._samples = deque([(now, 0, 0)])

    def tell(self, now: float, messages: int, size_bytes: int) -> None:
        """So much is done by now."""
        if now - self._samples[-1][0] < _SAMPLE_SECONDS:
            return
        self._samples.append((now, messages, size_bytes))
        while self._samples[1][0] < now - _RATE_SECONDS:
            self._samples.popleft()

    def rates(self) -> tuple[float, float]:
        """Messages and bytes a second; zero until something is known."""
        (began, *before), (now, *after) = self._samples[0], self._samples[-1]
        seconds = now - began
        messages, size_bytes = (late - early for late, early in zip(after, before, strict=True))
        return (messages / seconds, size_bytes / seconds) if seconds else (0.0, 0.0)
