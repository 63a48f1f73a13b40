"""From a configuration to those who restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...proto.structs import replace
from ..access import Access
from ..dispatch.engine import Engine
from ..dispatch.tuning import Restraint
from ..settings import Config
from . import adapters
from .governed import governed
from .output import note

_DRY_RUN_PATIENCE_SECONDS = 15.0


@contextmanager
def open_restorers(
    config: Config | None,
    workers: int,
    *,
    dry_run: bool = False,
    alone: bool = False,
    minding: Config | None = None,
) -> Iterator[tuple[Engine, Access | None]]:
    """Who restores: the hosts of the configuration where they are several, else so many workers here, or this
    process ``alone``; and how those elsewhere read archives. A dry run does not wait long for hosts that are
    gone. Users are minded as the configuration ``minding`` says. Raises AccessError."""
    with governed(minding, note) as restraint:
        yield from _restorers(config, workers, restraint, dry_run=dry_run, alone=alone)


def _restorers(
    config: Config | None, workers: int, restraint: Restraint, *, dry_run: bool, alone: bool
) -> Iterator[tuple[Engine, Access | None]]:
    if alone:
        # Once: what has been sent can't be sent again.
        yield adapters.make_engine(0, attempts=1), None
        return
    if config is None or config.dispatch.engine == "local":
        yield adapters.make_engine(workers, restraint=restraint), None
        return
    from . import hosts

    if dry_run:
        patience = min(config.dispatch.host_patience_seconds, _DRY_RUN_PATIENCE_SECONDS)
        config = replace(config, dispatch=replace(config.dispatch, host_patience_seconds=patience))
    with hosts.open_access(config, restraint) as found:
        yield found
