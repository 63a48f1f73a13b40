"""The events of the queue in the log, and for programs of the site."""

from __future__ import annotations

from pathlib import Path

from ..hooks import HooksBehind
from ..monitoring.log import Log
from ..service.records import Operation, State
from ..serving.queue import QueueObserver


class QueueLog(QueueObserver):
    """Writes events ``operation.HAPPENED``. Paths of an operation are in them, as in those of runs."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def began(self, operation: Operation) -> None:
        """See QueueObserver."""
        self._bound(operation).info(
            "operation.started", attempt=operation.attempts, resumes=operation.resumes
        )

    def adopted(self, operation: Operation) -> None:
        """See QueueObserver."""
        self._bound(operation).info("operation.adopted", pid=operation.pid)

    def died(self, operation: Operation, becomes: State) -> None:
        """See QueueObserver."""
        self._bound(operation).warning("operation.died", deaths=operation.deaths + 1, becomes=becomes)

    def hung(self, operation: Operation) -> None:
        """See QueueObserver."""
        self._bound(operation).warning("operation.hung", becomes=operation.state)

    def ended(self, operation: Operation) -> None:
        """See QueueObserver."""
        self._bound(operation).info(
            "operation.ended",
            state=operation.state,
            exit_status=operation.exit_status,
            error=operation.error,
        )

    def _bound(self, operation: Operation) -> Log:
        request = operation.request
        return self._log.bind(operation=operation.id, kind=request.kind, asked_by=request.asked_by)


class OperationHooks(QueueObserver):
    """Calls the hook ``operation_died``; how it fails is on record with the failures of hooks."""

    def __init__(self, hook: HooksBehind, staging: Path) -> None:
        self._hook = hook
        self._staging = staging

    def died(self, operation: Operation, becomes: State) -> None:
        """See QueueObserver."""
        facts = {
            "operation": operation.id,
            "kind": operation.request.kind,
            "deaths": operation.deaths + 1,
            "becomes": becomes,
            "staging": str(self._staging),
        }
        self._hook.call(facts)
