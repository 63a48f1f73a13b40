"""How it all stands, for programs: what `mailhaul status --json` says."""

from __future__ import annotations

from ...monitoring.overview import Overview, configured_groups, take_overview
from ..routes import VIEWER, Resource
from ..visits import Visit


def status(visit: Visit) -> Overview:
    """Of the staging area that is served."""
    site, config = visit.site, visit.site.config
    return take_overview(
        site.staging,
        site.now(),
        reserve_bytes=config.staging.reserve_bytes,
        wanted=configured_groups(config),
        partitions=() if config.staging.same_device else config.partitions,
        check_every_seconds=config.encryption.check_every_seconds,
    )


ROUTES = (
    Resource(
        path="/status",
        answers=status,
        allows=VIEWER,
        summary="What goes on, what is there, what was done, as `mailhaul status --json`",
        answer=Overview,
    ),
)
