"""The port that every engine implements, and what it gives back for each task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from ...proto.errors import BackupError, WorkerLostError
from ...proto.ports import ProgressSink, Task
from ...proto.structs import Record

TaskT = TypeVar("TaskT", bound=Task)
ReportT = TypeVar("ReportT")


class Outcome(Record, Generic[TaskT, ReportT], kw_only=True):
    """What became of a task after ``attempts`` attempts: a report, or the last attempt's error."""

    task: TaskT
    report: ReportT | None = None
    error: BackupError | None = None
    attempts: int = 1

    def failure(self) -> BackupError:
        """The error of a task without a report."""
        return self.error or WorkerLostError("the task ended without a report")


class Engine(Protocol):
    """Runs tasks on workers."""

    def __call__(
        self,
        function: Callable[[Any, ProgressSink], ReportT],
        tasks: Sequence[TaskT],
        on_progress: ProgressSink,
    ) -> Iterator[Outcome[TaskT, ReportT]]:
        """Call ``function(task.attempted(host, attempt), progress)`` for every task, begun in the order
        given; outcomes in order of completion, exactly one for each task. A task whose worker died, or that
        raised a retryable error, is tried again after a pause, up to the engine's limit; then it fails
        alone. Never raises for a task."""
