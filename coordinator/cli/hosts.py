"""The means of work on several hosts: the cluster, the receiver, keys and grants.

Imported only where they are needed: ZeroMQ alone takes as long to load as a whole restore of one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...proto.structs import replace
from ...proto.wire.grants import Grant, issue, load_secret
from ...proto.wire.keys import read_public
from ...worker.staging.area import ReceiverAddress, StagingArea
from ...worker.staging.progress import ProgressSender, watch_progress
from ..access import Access
from ..dispatch.cluster import RayCluster, ray_engine
from ..dispatch.driver import Admission, HostSink, always, ignore_hosts
from ..dispatch.engine import Engine
from ..dispatch.tuning import Restraint
from ..observers import RunObserver
from ..run import Means
from ..settings import Config
from ..structure_keys import area_at
from . import adapters
from .keys import RECEIVER

GRANTS_KEY = Path(".mailhaul", "grants.key")
"""Below the staging area: what grants are signed with."""

LEASE_SECONDS = 30.0
"""How long workers and receiver may be silent towards each other: both give up then, each for itself."""

_KEEPING_PATIENCE_SECONDS = 60.0
"""So long a host that is lost while it keeps how mailboxes are before a restore is waited for, at most:
nothing is restored on the others meanwhile."""

_GRANT_SECONDS = 30 * 86_400
"""A grant outlasts every run; it is of no use to anybody but the one host that it names."""


def inventory_engine(config: Config) -> Engine:
    """Who looks at the partitions: a worker on each host."""
    return ray_engine(_cluster(config))


@contextmanager
def open_means(
    config: Config, observer: RunObserver, admit: Admission, restraint: Restraint
) -> Iterator[Means]:
    """What a run works with. Raises AccessError where keys are missing or lie open to others."""
    area = _area(config)
    with _engine(config, area, admit, observer.host_changed, restraint) as engine:
        yield Means(
            clock=adapters.clock(),
            inventory=inventory_engine(config),
            backup=engine,
            small_night=engine,
            area=area,
            grant=_grants(config, "write"),
            read_grant=_reading(config),
            observer=observer,
            hooks=adapters.hooks(config),
        )


@contextmanager
def open_access(config: Config, restraint: Restraint) -> Iterator[tuple[Engine, Access]]:
    """An engine for restores to the hosts of a cluster, and how these read archives. Raises AccessError."""
    area = _area(config)
    patience = min(config.dispatch.host_patience_seconds, _KEEPING_PATIENCE_SECONDS)
    keeping = replace(config, dispatch=replace(config.dispatch, host_patience_seconds=patience))
    with _engine(config, area, always, ignore_hosts, restraint) as engine:
        yield (
            engine,
            Access(
                area=area,
                grant=_reading(config),
                grant_writing=_grants(config, "write"),
                keeper=ray_engine(_cluster(keeping)),
            ),
        )


def _area(config: Config) -> StagingArea:
    staging = config.staging
    area = area_at(
        staging.path, reserve_bytes=staging.reserve_bytes, patience_seconds=staging.patience_seconds
    )
    return replace(area, host=staging.host, receiver=_receiver(config), lease_seconds=LEASE_SECONDS)


def _receiver(config: Config) -> ReceiverAddress | None:
    """How the other hosts reach the staging area, if there are any."""
    staging = config.staging
    if not staging.address:
        return None
    return ReceiverAddress(
        endpoint=staging.address,
        server_key=read_public(staging.keys, RECEIVER),
        keys=str(staging.keys),
    )


def _grants(config: Config, kind: str) -> Callable[[str, str, int], bytes]:
    secret = load_secret(config.staging.path / GRANTS_KEY)
    expires = int(adapters.clock().now()) + _GRANT_SECONDS
    return lambda host, file, epoch: issue(secret, Grant(kind, host, file, epoch, expires))


def _reading(config: Config) -> Callable[[str], bytes]:
    grant = _grants(config, "read")
    return lambda host: grant(host, "", 0)


@contextmanager
def _engine(
    config: Config, area: StagingArea, admit: Admission, on_host: HostSink, restraint: Restraint
) -> Iterator[Engine]:
    """Workers on the hosts of the cluster, whose progress comes by way of the receiver."""
    cluster = _cluster(config)
    if area.receiver is None:
        yield ray_engine(cluster, admit=admit, on_host=on_host, restraint=restraint)
        return
    sender = ProgressSender(area.receiver, area.lease_seconds)
    with watch_progress(area, area.receiver) as watch:
        yield ray_engine(
            cluster,
            admit=admit,
            connect_progress=sender,
            poll_progress=watch.poll,
            on_host=on_host,
            restraint=restraint,
        )


def _cluster(config: Config) -> RayCluster:
    dispatch = config.dispatch
    return RayCluster(
        address=dispatch.address,
        workers_per_host=dispatch.workers_per_host,
        token_file=dispatch.token_file,
        tls=dispatch.tls,
        host_patience_seconds=dispatch.host_patience_seconds,
        lease_seconds=LEASE_SECONDS,
        keys=config.staging.keys,
    )
