"""The time zone of the schedule: from the configuration, or that of this host."""

from __future__ import annotations

import os
from datetime import tzinfo

from ..scheduling.zones import system_zone, zone_named
from ..settings import Config


def schedule_zone(config: Config) -> tzinfo:
    """In which the times of the schedule are. Raises ConfigError if that of this host can't be told by its
    name, and none is configured."""
    if config.schedule.zone:
        return zone_named(config.schedule.zone)
    return system_zone(os.environ.get("TZ"))  # noqa: TID251 (read at the edge)
