"""Workers that are processes of their own on this machine, spoken to over one pipe each.

Apart from the engine, as a night with little to do needs none, and they take long to load.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from ...proto.errors import WorkerLostError
from ...proto.ports import ProgressSink
from ...proto.records import Progress
from ...proto.structs import Mutable
from ..core import Event, TaskFailed, WorkerLost
from . import child
from .driver import event_of
from .nursery import new_worker, settle
from .processes import GRACE_SECONDS, birth, bound_waits, end, end_of

START_SECONDS = 60.0
"""A worker that is not ready in this time is given up."""

_JOIN_SECONDS = 1.0


class _Worker(Mutable):
    process: BaseProcess
    channel: Connection
    ready_by: float | None


class Processes:
    """Workers that are processes of their own (a driver.Crew)."""

    def __init__(self, function: Callable[[Any, ProgressSink], object], on_progress: ProgressSink) -> None:
        self._function = function
        self._on_progress = on_progress
        self._workers: dict[int, _Worker] = {}
        self._leaving: list[BaseProcess] = []
        self._noticed: list[Event] = []

    def start(self, worker: int, _host: str) -> None:
        ours, theirs = Pipe()
        try:
            process = new_worker(child.work, (self._function, theirs), f"worker-{worker}")
            with birth():
                process.start()
                self._workers[worker] = _Worker(process, ours, time.monotonic() + START_SECONDS)
            bound_waits(ours)
        except (OSError, EOFError) as error:
            ours.close()
            settle()
            lost = WorkerLostError(f"a worker can't be started: {error}")
            self._noticed.append(WorkerLost(worker, lost))
        finally:
            # With the worker's end open here too, its death would not close the channel.
            theirs.close()

    def assign(self, worker: int, task: object) -> None:
        try:
            data = pickle.dumps(task)
        except Exception as error:
            self._noticed.append(TaskFailed(worker, child.unexpected(error)))
            return
        try:
            self._workers[worker].channel.send_bytes(data)
        except OSError:
            self._noticed.append(self._lose(worker))

    def stop(self, worker: int) -> None:
        gone = self._workers.pop(worker)
        gone.channel.close()
        self._leaving.append(gone.process)

    def events(self, timeout_seconds: float) -> list[Event]:
        if not self._noticed:
            self._wait(timeout_seconds)
        noticed, self._noticed = self._noticed, []
        return noticed

    def close(self) -> None:
        for worker in self._workers.values():
            worker.channel.close()
            worker.process.terminate()
            self._leaving.append(worker.process)
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            for process in self._leaving:
                process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for process in self._leaving:
                end(process)
            self._workers, self._leaving = {}, []

    def _wait(self, timeout_seconds: float) -> None:
        sources: dict[Connection | int, int] = {}
        for number, worker in self._workers.items():
            sources[worker.channel] = sources[worker.process.sentinel] = number
        ready = {sources[cast(Connection | int, source)] for source in wait(list(sources), timeout_seconds)}
        for number in sorted(ready):
            self._noticed += self._read(number)
        now = time.monotonic()
        for number, worker in list(self._workers.items()):
            if worker.ready_by is not None and worker.ready_by < now:
                self._noticed.append(self._lose(number, f"was not ready within {START_SECONDS:.0f} s"))

    def _read(self, number: int) -> list[Event]:
        """The next that a worker says, or else how it ended."""
        worker = self._workers[number]
        try:
            # A worker that has ended may have answered before: that comes first.
            data = worker.channel.recv_bytes() if worker.channel.poll() else None
        except (EOFError, OSError):
            data = None
        if data is None:
            return [self._lose(number)]
        try:
            said = pickle.loads(data)  # noqa: S301
        except Exception as error:
            return [TaskFailed(number, child.unexpected(error))]
        if isinstance(said, Progress):
            self._on_progress(said)
            try:
                if said.done:
                    worker.channel.send_bytes(child.NOTED)
            except OSError:
                return [self._lose(number)]
            return []
        worker.ready_by = None
        return [event_of(number, said)]

    def _lose(self, number: int, how: str = "") -> WorkerLost:
        worker = self._workers.pop(number)
        worker.channel.close()
        pid = worker.process.pid
        if not how:
            worker.process.join(_JOIN_SECONDS)
            how = end_of(worker.process.exitcode)
        end(worker.process)
        return WorkerLost(number, WorkerLostError(f"worker {pid} {how}", pid=pid))
