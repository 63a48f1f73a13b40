"""What Prometheus is told of how places fill up: from the record, no place is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError
from ..clock import utc
from ..notices.spaces import recorded_spaces
from ..service.database import place
from .families import gauge


class ForecastCollector(Collector):
    """When ``places`` of a staging area will be full; nothing where that was never looked at."""

    def __init__(self, staging: Path, places: Iterable[str], now: Callable[[], float]) -> None:
        self._staging = staging
        self._places = frozenset(places)
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client. What can't be read is missing."""
        if not place(self._staging).exists():
            return
        with suppress(BackupError):
            spaces = recorded_spaces(self._staging, utc(self._now()).date())
            yield gauge(
                "mailhaul_place_days_left",
                "In so many days a place will be full, as it has filled up lately.",
                ("place",),
                (
                    (name, one.days_left)
                    for name, one in sorted(spaces.items())
                    if name in self._places and one.days_left is not None
                ),
            )
