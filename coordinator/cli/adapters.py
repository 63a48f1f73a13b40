"""The adapters that commands hand to the library: engines, mail stores, the clock."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...proto.ports import Clock
from ...proto.records import Partition
from ...worker.stores import registry
from ..clock import SystemClock
from ..dispatch.driver import ATTEMPTS, Admission, always
from ..dispatch.engine import Engine
from ..dispatch.local import AtFirstHere, local_engine
from ..dispatch.tuning import FREE, Restraint
from ..hooks import Hooks
from ..settings import Config


def make_engine(
    workers: int,
    admit: Admission = always,
    *,
    attempts: int = ATTEMPTS,
    at_first_here: AtFirstHere | None = None,
    restraint: Restraint = FREE,
) -> Engine:
    """Up to so many worker processes on this machine, this process itself ``at_first_here``; 0 workers stand
    for this process alone."""
    return local_engine(
        workers, admit=admit, attempts=attempts, at_first_here=at_first_here, restraint=restraint
    )


def make_lanes(lanes: Sequence[str]) -> Engine:
    """A worker process on this machine for each lane. What fails is told: a sweep does it the next time."""
    return local_engine(1, attempts=1, lanes=lanes)


def check_target(partition: Partition) -> None:
    """Raise ConfigError for a place that nothing can be restored to, before any work begins."""
    registry.open_target(partition)


def hooks(config: Config) -> Hooks:
    """The programs that the configuration says are called."""
    return Hooks(config.hooks, clock(), os.environ, config.staging.path)  # noqa: TID251 (read at the edge)


def clock() -> Clock:
    """This machine's time."""
    return SystemClock()
