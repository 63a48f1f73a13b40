"""Engines that run tasks on workers. One module per engine; what they have in common stands here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ...proto.errors import BackupError
from ...proto.ports import ProgressSink

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T, R]):
    """How a task ended, after so many attempts: with a report, or with the error of the last."""

    task: T
    attempts: int
    report: R | None = None
    error: BackupError | None = None

    def failure(self) -> BackupError:
        """The error of a task without a report. Raises ValueError if there is none."""
        if self.error is None:
            raise ValueError("the task did not fail")
        return self.error


class Engine(Protocol):
    """Runs a function over tasks, on as many workers as it was made for."""

    def __call__(
        self, function: Callable[[T, ProgressSink], R], tasks: Sequence[T], on_progress: ProgressSink
    ) -> Iterator[Outcome[T, R]]:
        """An outcome for every task, as they end; tasks are begun in the order given.

        ``function`` must be importable by its name, tasks and reports must be picklable. It returns a
        report, never None, or raises; what is retryable is tried again. ``on_progress`` is called in
        the thread that iterates, between outcomes. Closing the iterator, or an exception in its
        consumer's loop, ends the workers before it returns.
        """
