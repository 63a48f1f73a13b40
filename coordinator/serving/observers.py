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
        for observer in self._observers:
            observer.began(operation)

    def adopted(self, operation: Operation) -> None:
        """See QueueObserver."""
        for observer in self._observers:
            observer.adopted(operation)

    def died(self, operation: Operation, becomes: State) -> None:
        """See QueueObserver."""
        for observer in self._observers:
            observer.died(operation, becomes)

    def hung(self, operation: Operation) -> None:
        """See QueueObserver."""
        for observer in self._observers:
            observer.hung(operation)

    def ended(self, operation: Operation) -> None:
        """See QueueObserver."""
        for observer in self._observers:
            observer.ended(operation)
