"""From a configuration to the governor of the work that a command does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..dispatch.tuning import FREE, Restraint
from ..settings import Config
from . import adapters


@contextmanager
def governed(config: Config | None, tell: Callable[[str], object]) -> Iterator[Restraint]:
    """Who holds the work back for the users of the mail hosts, as long as the context lasts: nobody where the
    configuration has no host that is governed. ``tell`` is told, in a line, what somebody should see to."""
    if config is None or not config.governor.hosts:
        yield FREE
        return
    from ..governing.governor import HERE, Governor  # and all that looks at mail servers

    hosts = config.governor.hosts
    if config.dispatch.engine == "local":
        (here,) = hosts.values()
        hosts = {HERE: here}
    with Governor(config.staging.path, config.governor.name, hosts, adapters.clock(), tell) as governor:
        yield governor
