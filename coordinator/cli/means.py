"""From a configuration to the means of the work: engines, the staging area as workers see it, grants."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...proto.wire.grants import Grant, issue, load_secret
from ...proto.wire.keys import read_public
from ...worker.staging.area import ReceiverAddress, StagingArea
from ...worker.staging.progress import ProgressSender, watch_progress
from ..dispatch.cluster import RayCluster, ray_engine
from ..dispatch.driver import Admission, HostSink, always, ignore_hosts
from ..dispatch.engine import Engine
from ..observers import RunObserver
from ..restoration import Access
from ..run import Means
from ..settings import Config
from . import adapters

RECEIVER = "receiver"
"""The name of the receiver's key pair."""

GRANTS_KEY = Path(".mailhaul", "grants.key")
"""Below the staging area: what grants are signed with."""

LEASE_SECONDS = 30.0
"""How long workers and receiver may be silent towards each other: both give up then, each for itself."""

_GRANT_SECONDS = 30 * 86_400
"""A grant outlasts every run; it is of no use to anybody but the one host that it names."""


def admission(config: Config, *, now: bool, waiting: Callable[[str], object]) -> Admission:
    """Whether units may be begun: always ``now``, or without a window. ``waiting`` is told why not."""
    window, clock = config.dispatch.window, adapters.clock()
    if now or window is None:
        return always

    def admit() -> bool:
        at = clock.now()
        opened = window.is_open(at)
        opens = time.strftime("%H:%M", time.localtime(window.opens_at(at)))
        waiting("" if opened else f"outside of the window {window}: begins at {opens} (--now does at once)")
        return opened

    return admit


@contextmanager
def open_means(config: Config, observer: RunObserver, admit: Admission) -> Iterator[Means]:
    """What a run works with. Raises AccessError where keys are missing or lie open to others."""
    if config.dispatch.engine == "local":
        yield Means(
            clock=adapters.clock(),
            inventory=adapters.make_engine(0),
            backup=adapters.make_engine(config.dispatch.workers_per_host, admit),
            area=staging_area(config, None),
            grant=lambda _host, _file, _epoch: b"",
            observer=observer,
        )
        return
    receiver = _receiver(config)
    area = staging_area(config, receiver)
    with _cluster_engine(config, area, admit, observer.host_changed) as engine:
        yield Means(
            clock=adapters.clock(),
            inventory=ray_engine(_cluster(config)),
            backup=engine,
            area=area,
            grant=_grants(config, "write"),
            observer=observer,
        )


@contextmanager
def open_access(config: Config) -> Iterator[tuple[Engine, Access]]:
    """An engine for restores to the hosts of a cluster, and how these read archives. Raises AccessError."""
    area = staging_area(config, _receiver(config))
    grant = _grants(config, "read")
    with _cluster_engine(config, area, always, ignore_hosts) as engine:
        yield engine, Access(area=area, grant=lambda host: grant(host, "", 0))


def staging_area(config: Config, receiver: ReceiverAddress | None) -> StagingArea:
    """The staging area as workers know it."""
    staging = config.staging
    return StagingArea(
        path=str(staging.path),
        host="" if config.dispatch.engine == "local" else staging.host,
        receiver=receiver,
        reserve_bytes=staging.reserve_bytes,
        patience_seconds=staging.patience_seconds,
        lease_seconds=LEASE_SECONDS,
    )


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


@contextmanager
def _cluster_engine(
    config: Config, area: StagingArea, admit: Admission, on_host: HostSink
) -> Iterator[Engine]:
    """Workers on the hosts of the cluster, whose progress comes by way of the receiver."""
    cluster = _cluster(config)
    if area.receiver is None:
        yield ray_engine(cluster, admit=admit, on_host=on_host)
        return
    sender = ProgressSender(area.receiver, area.lease_seconds)
    with watch_progress(area, area.receiver) as watch:
        yield ray_engine(
            cluster, admit=admit, connect_progress=sender, poll_progress=watch.poll, on_host=on_host
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
    )
