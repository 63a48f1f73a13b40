"""The queue of ``mailhaul serve`` in the process of a test: its duties are called by hand, and what it starts
are processes that are forked from this one, which may be killed before any step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.operation_words import checked, needs_of
from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.config import load
from mailhaul.coordinator.notices.looks import look
from mailhaul.coordinator.notices.operation_notices import OperationNotices
from mailhaul.coordinator.notices.rooms import Rooms
from mailhaul.coordinator.notices.spaces import Spaces
from mailhaul.coordinator.scheduling.duty import ScheduleDuty
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import NOT_ENDED, UNDER_WAY, Kind, Operation, Request, State
from mailhaul.coordinator.serving.queue import Queue, QueueObserver

from .faults.killed import Steps, begun
from .verifying import run

UNFINISHED: tuple[State, ...] = (*NOT_ENDED, "interrupted")


class Forked:
    """The process of an operation. It is a ``Started``."""

    def __init__(self, child: int) -> None:
        self.child = child
        self.status: int | None = None

    def poll(self) -> int | None:
        """See Started."""
        if self.status is None:
            child, status = os.waitpid(self.child, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if child else None
        return self.status

    def terminate(self) -> None:
        """See Started."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """See Started."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.child, number)


class Ends(QueueObserver):
    """The ends that were reported of each operation."""

    def __init__(self) -> None:
        self.reported: dict[int, list[State]] = {}

    def ended(self, operation: Operation) -> None:
        """See QueueObserver."""
        self.reported.setdefault(operation.id, []).append(operation.state)


class Service:
    """``mailhaul serve`` without its page and its letters, for the configuration in ``file``. ``die_before``
    gives the step before which a process that is started dies."""

    def __init__(self, file: Path, steps: Steps, die_before: Callable[[], int]) -> None:
        self.file = file
        self.ends = Ends()
        self.passed_over = 0
        self._steps = steps
        self._die_before = die_before
        self._processes: list[Forked] = []
        self._config = load(file)
        self.staging = self._config.staging.path
        self.operations = Operations(self.staging)
        self.begin()

    def begin(self) -> None:
        """A coordinator begins; one that there was is gone, and what it started goes on."""
        config = load(self.file)
        self._config = config
        notices = OperationNotices(self.staging, self.now, self.ends, _unrecorded)
        grace = timedelta(seconds=config.serve.stop_grace_seconds)
        self._queue = Queue(
            self.staging,
            self._start,
            lambda operation: needs_of(operation, config.destinations),
            notices,
            grace,
        )
        self._schedule = ScheduleDuty(config, UTC, self._told)

    def now(self) -> datetime:
        """By the clock that commands have."""
        return utc(adapters.clock().now())

    def put_in(self, kind: Kind, *arguments: str) -> int:
        """Put an operation in; its id."""
        request = Request(kind=kind, arguments=checked(kind, arguments), asked_by="cli:root")
        return self.operations.add(request, self.now()).id

    def tick(self) -> None:
        """What is due now."""
        self._schedule.tick(self.now())
        self._queue.tick(self.now())
        for process in self._processes:
            process.poll()

    def look(self) -> None:
        """What lasts by itself is looked at."""
        look(self._config, Spaces(self._config, Rooms()), self.now())

    def end(self) -> None:
        """The coordinator ends in order."""
        self._queue.interrupt(self.now)
        self.await_all()

    def unfinished(self) -> tuple[Operation, ...]:
        """Operations that have not ended, or go on."""
        return self.operations.in_states(UNFINISHED)

    def under_way(self) -> tuple[Operation, ...]:
        """Operations that a process carries out."""
        return self.operations.in_states(UNDER_WAY)

    def kill(self, operation: Operation) -> None:
        """The process of an operation is killed."""
        for process in self._processes:
            if process.child == operation.pid:
                with suppress(ProcessLookupError):
                    process.kill()

    def kill_all(self) -> None:
        """The host goes down."""
        for process in self._processes:
            process.kill()
        self.await_all()

    def await_all(self) -> None:
        """Until no process is left."""
        for process in self._processes:
            if process.poll() is None:
                _, status = os.waitpid(process.child, 0)
                process.status = os.waitstatus_to_exitcode(status)
        self._processes.clear()

    def _start(self, number: int) -> Forked:
        def work() -> None:
            os.setsid()
            run("--config", self.file, "operations", "run", number)

        child, _ = begun(self._die_before(), self._steps, work)
        self._processes.append(Forked(child))
        return self._processes[-1]

    def _told(self, event: str, _fields: Mapping[str, object]) -> None:
        self.passed_over += event == "schedule.passed_over"


def _unrecorded(text: str) -> None:
    raise AssertionError(text)
