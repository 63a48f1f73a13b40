"""How archives and targets are reached by workers: on this host, or on others over the receiver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..proto.records import (
    Partition,
)
from ..worker.archives.holdings import Holdings
from ..worker.staging.area import StagingArea


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How workers on other hosts read the archives of the staging ``area``: ``grant`` lets a host do it."""

    area: StagingArea
    grant: Callable[[str], bytes]


def reached(archives: Holdings, access: Access | None) -> Holdings:
    """Archives as those reach them who restore."""
    return archives if access is None else archives.reached(access.area)


def grants_for(access: Access | None, target: Partition) -> dict[str, bytes]:
    """What lets the hosts of a target read the archives."""
    if access is None:
        return {}
    return {host: access.grant(host) for host in target.hosts if host != access.area.host}
