"""From a configuration to the means of the work: engines, the staging area as workers see it, grants."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...worker.staging.area import StagingArea
from ..dispatch.driver import Admission, always
from ..dispatch.engine import Engine
from ..observers import RunObserver
from ..run import Means
from ..settings import Config
from . import adapters


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


def inventory_engine(config: Config) -> Engine:
    """Who looks at the partitions: this process, or the hosts of the cluster."""
    if config.dispatch.engine == "local":
        return adapters.make_engine(0)
    from . import hosts

    return hosts.inventory_engine(config)


@contextmanager
def open_means(config: Config, observer: RunObserver, admit: Admission) -> Iterator[Means]:
    """What a run works with. Raises AccessError where keys are missing or lie open to others."""
    if config.dispatch.engine == "local":
        yield Means(
            clock=adapters.clock(),
            # A worker of its own: what it has to load is being loaded for the others anyway.
            inventory=adapters.make_engine(1),
            backup=adapters.make_engine(config.dispatch.workers_per_host, admit),
            area=StagingArea(
                path=str(config.staging.path),
                reserve_bytes=config.staging.reserve_bytes,
                patience_seconds=config.staging.patience_seconds,
            ),
            grant=lambda _host, _file, _epoch: b"",
            read_grant=lambda _host: b"",
            observer=observer,
            hooks=adapters.hooks(config),
        )
        return
    from . import hosts

    with hosts.open_means(config, observer, admit) as means:
        yield means
