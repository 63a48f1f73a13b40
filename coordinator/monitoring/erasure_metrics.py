"""What Prometheus is told of erasures that are not done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ..clock import utc
from ..erasing.overdue import overdue
from ..erasing.progress import not_done
from .families import gauge


class ErasureCollector(Collector):
    """The erasures of a staging area, in whatever process: as their files say how far they are."""

    def __init__(self, staging: Path, now: Callable[[], float]) -> None:
        self._staging = staging
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        late = len(list(overdue(self._staging, utc(self._now()))))
        yield gauge(
            "mailhaul_erasures_due",
            "Erasures that are not done, and whether they should be by now.",
            ("overdue",),
            [("no", len(not_done(self._staging)) - late), ("yes", late)],
        )
