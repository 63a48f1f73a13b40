"""What Prometheus is told of the schedule: since when there should be a backup of each group."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError
from ...proto.ports import Clock
from ..clock import utc
from ..scheduling.lateness import PlannedBackups
from ..service.handled import HandledMoments
from ..settings import Config
from .families import GROUP, gauge
from .overview import configured_groups


class ScheduleCollector(Collector):
    """Of whoever serves a staging area: of groups of which it knows when backups are due. Of others there is
    nothing: an alert takes a sample for what the schedule says, and is silent."""

    def __init__(self, config: Config, zone: tzinfo, clock: Clock) -> None:
        self._config = config
        self._zone = zone
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        try:
            handled = HandledMoments(self._config.staging.path).all()
        except BackupError:
            return
        planned = PlannedBackups(self._config, handled, self._zone)
        if not planned.are_known:
            return
        now = utc(self._clock.now())
        yield gauge(
            "mailhaul_backup_wanted_timestamp_seconds",
            "A backup of the group was due then, six hours ago or earlier: it is late if there is none that "
            "is newer. 0: none was due yet, or the schedule says that none is made.",
            GROUP,
            (
                (partition, group, _seconds(planned.wanted_since(group, now)))
                for partition, group in sorted(configured_groups(self._config))
                if planned.knows(group)
            ),
        )


def _seconds(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
