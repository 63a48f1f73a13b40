"""The page of ``mailhaul serve``, put together: its doors, its site, and who says what is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import tzinfo
from pathlib import Path

from ...proto.ports import Clock
from ...proto.structs import replace
from ..people.keys_of_entry import EntryKey
from ..serving.private_keys import PrivateKeys
from ..settings import Config
from .app import make_app
from .certificates import Certificate
from .doors import opened, ways
from .server import serve
from .site import Admits, site_of


def front(
    config: Config,
    clock: Clock,
    stack: ExitStack,
    *,
    config_file: Path | None,
    loopback: bool,
    admits: Admits,
    zone: tzinfo,
    keys: PrivateKeys,
    say: Callable[[str], object],
    report: Callable[[str, Exception], object],
) -> Callable[[threading.Event], None]:
    """What serves the page until an event is set. Its doors are open from now on, until the ``stack`` ends.

    ``say`` gets where the page is; ``report`` gets what nobody expected. With ``loopback`` there is a door
    for a browser of this host, and ``say`` gets an address that lets it in once. Raises ConfigError,
    StagingError, DamagedError.
    """
    page = config.serve.page
    doors = stack.enter_context(opened(page, config.staging.path, loopback=loopback))
    if any(door.has_tls for door in doors):
        Certificate(page)  # what is wrong with it is said before the page is said to be there

    def on_error(error: BaseException, number: str) -> None:
        report(f"page, {number}", error if isinstance(error, Exception) else RuntimeError(repr(error)))

    known = ways(page, doors[-1] if loopback else None)
    site = site_of(
        config,
        clock,
        config_file=config_file,
        ways=known,
        admits=admits,
        zone=zone,
        keys=keys,
        on_error=on_error,
    )
    for door in doors:
        say(f"the page is at {door.address}")
    if loopback:
        entry = EntryKey.made(clock)
        site = replace(site, entry=entry)
        say(f"one browser, once: {doors[-1].address}enter?key={entry.text}")
    app = make_app(site)
    return lambda stop: serve(app, page, doors, stop, lambda error: report("page", error))
