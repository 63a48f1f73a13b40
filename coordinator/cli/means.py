"""From a configuration to the means of the work: engines, the staging area as workers see it, grants."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...proto.ports import ProgressSink
from ..dispatch.driver import Admission, always
from ..dispatch.engine import Engine, Outcome, ReportT, TaskT
from ..dispatch.local import AtFirstHere
from ..dispatch.tuning import Restraint
from ..observers import RunObserver
from ..run import Means
from ..settings import Config
from ..structure_keys import area_at
from . import adapters
from .governed import governed

_HERE_SECONDS = 2.0
"""So long this process works itself where little is to be expected. What is done by then counts, mailbox by
mailbox."""


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
    with governed(config, observer.minding) as restraint:
        if config.dispatch.engine == "local":
            yield _local_means(config, observer, admit, restraint)
            return
        from . import hosts

        with hosts.open_means(config, observer, admit, restraint) as means:
            yield means


def _local_means(config: Config, observer: RunObserver, admit: Admission, restraint: Restraint) -> Means:
    workers = config.dispatch.workers_per_host
    return Means(
        clock=adapters.clock(),
        # Not this thread: a file system that hangs must not keep Ctrl-C from ending the program.
        inventory=adapters.make_engine(1, at_first_here=AtFirstHere(math.inf, _prepare_workers)),
        backup=_prepared(adapters.make_engine(workers, admit, restraint=restraint)),
        small_night=adapters.make_engine(
            workers, admit, at_first_here=AtFirstHere(_HERE_SECONDS, _prepare_workers), restraint=restraint
        ),
        area=area_at(
            config.staging.path,
            reserve_bytes=config.staging.reserve_bytes,
            patience_seconds=config.staging.patience_seconds,
        ),
        grant=lambda _host, _file, _epoch: b"",
        read_grant=lambda _host: b"",
        observer=observer,
        hooks=adapters.hooks(config),
    )


def _prepared(engine: Engine) -> Engine:
    """An engine whose workers load what they need from its call on, if they have not begun before."""

    def run(
        function: Callable[[Any, ProgressSink], ReportT], tasks: Sequence[TaskT], on_progress: ProgressSink
    ) -> Iterator[Outcome[TaskT, ReportT]]:
        _prepare_workers()
        return engine(function, tasks, on_progress)

    return run


def _prepare_workers() -> None:
    from .workers import prepare_workers

    prepare_workers()
