"""What Prometheus is told of the queue. Labels are kinds and states, so their number is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError
from ..service.database import place
from ..service.operations import Operations
from ..service.records import Kind
from .families import gauge


class OperationCollector(Collector):
    """The operations of a staging area: how many, since when some wait, how each kind ended last. Nothing
    where there is no queue yet."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        if not place(self._staging).exists():
            return
        try:
            operations = Operations(self._staging)
            counts = operations.counts()
            waiting = operations.in_states(("waiting",))
            ends = operations.last_ends()
        except BackupError:
            return
        yield gauge(
            "mailhaul_operations",
            "Operations on record, by their kind and state.",
            ("kind", "state"),
            ((kind, state, count) for (kind, state), count in sorted(counts.items())),
        )
        since: dict[Kind, float] = {}
        for operation in waiting:
            since.setdefault(operation.request.kind, operation.asked.timestamp())
        yield gauge(
            "mailhaul_operations_waiting_since_timestamp_seconds",
            "When the operation was asked for that waits for longest.",
            ("kind",),
            sorted(since.items()),
        )
        yield gauge(
            "mailhaul_operation_ended_timestamp_seconds",
            "When the last operation ended, and in which state.",
            ("kind", "state"),
            ((kind, one.state, one.ended.timestamp()) for kind, one in sorted(ends.items()) if one.ended),
        )
