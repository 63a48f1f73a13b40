"""Several who are told what becomes of operations."""

from __future__ import annotations

from ..service.records import Operation, State
from .queue import QueueObserver


class QueueObservers(QueueObserver):
    """Tells several observers, in turn."""

    def __init__(self, *observers: QueueObserver) -> None:
        self._observers = observers

    def began(self, operation: Operation) -> None:
        """See QueueObserver."""
        for one in self._observers:
            one.began(operation)

    def adopted(self, operation: Operation) -> None:
        """See QueueObserver."""
        for one in self._observers:
            one.adopted(operation)

    def died(self, operation: Operation, becomes: State) -> None:
        """See QueueObserver."""
        for one in self._observers:
            one.died(operation, becomes)

    def hung(self, operation: Operation) -> None:
        """See QueueObserver."""
        for one in self._observers:
            one.hung(operation)

    def ended(self, operation: Operation) -> None:
        """See QueueObserver."""
        for one in self._observers:
            one.ended(operation)
