"""From a configuration to those who restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...proto.structs import replace
from ..access import Access
from ..dispatch.engine import Engine
from ..settings import Config
from . import adapters

_DRY_RUN_PATIENCE_SECONDS = 15.0


@contextmanager
def open_restorers(
    config: Config | None, workers: int, *, dry_run: bool = False, alone: bool = False
) -> Iterator[tuple[Engine, Access | None]]:
    """Who restores: the hosts of the configuration where they are several, else so many workers here, or this
    process ``alone``; and how those elsewhere read archives. A dry run does not wait long for hosts that are
    gone. Raises AccessError."""
    if alone:
        # Once: what has been sent can't be sent again.
        yield adapters.make_engine(0, attempts=1), None
        return
    if config is None or config.dispatch.engine == "local":
        yield adapters.make_engine(workers), None
        return
    from . import hosts

    if dry_run:
        patience = min(config.dispatch.host_patience_seconds, _DRY_RUN_PATIENCE_SECONDS)
        config = replace(config, dispatch=replace(config.dispatch, host_patience_seconds=patience))
    with hosts.open_access(config) as found:
        yield found
