"""What Prometheus is told of the queue. Labels are kinds and states, so their number is bounded."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError
from ..service.operations import Operations
from ..service.records import Kind
from .families import gauge


class OperationCollector(Collector):
    """The operations of a staging area: how many, since when some wait, how each kind ended last."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        try:
            counts = self._operations.counts()
            waiting = self._operations.in_states(("waiting",))
            ends = self._operations.last_ends()
        except BackupError:
            return
        yield gauge(
            "mailhaul_operations",
            "Operations on record, by their kind and state.",
            ("kind", "state"),
            ((kind, state, count) for (kind, state), count in sorted(counts.items())),
        )
        since: dict[Kind, float] = {}
        for one in waiting:
            since.setdefault(one.request.kind, one.asked.timestamp())
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
