"""How archives and targets are reached by workers: on this host, or on others over the receiver."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..proto.records import Partition
from ..proto.structs import Record
from ..worker.archives.holdings import Holdings
from ..worker.staging.area import StagingArea
from .dispatch.engine import Engine


class Access(Record, kw_only=True):
    """How workers on other hosts reach the staging ``area``: ``grant`` lets a host read its archives,
    ``grant_writing`` lets it write a file there, as the attempt of this epoch. ``keeper`` dispatches what is
    to be kept before a restore."""

    area: StagingArea
    grant: Callable[[str], bytes]
    grant_writing: Callable[[str, str, int], bytes]
    keeper: Engine

    def is_near(self, host: str) -> bool:
        """Whether a host (empty: this one) is that of the area, and needs no leave."""
        return host in ("", self.area.host)


def reached(archives: Holdings, access: Access | None, mailboxes: Iterable[tuple[str, str]]) -> Holdings:
    """Archives as those reach them who restore, or look at, what is stored of these mailboxes (partition and
    user)."""
    return archives if access is None else archives.reached(access.area.to_read(mailboxes))


def grants_for(access: Access | None, target: Partition) -> dict[str, bytes]:
    """What lets the hosts of a target read the archives."""
    if access is None:
        return {}
    return {host: access.grant(host) for host in target.hosts if not access.is_near(host)}
