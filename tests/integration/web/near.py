"""The page served by the test itself, so that what there is to be seen is what the test has made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mailhaul.coordinator.clock import SystemClock
from mailhaul.coordinator.serving.serve_lock import serving
from mailhaul.coordinator.web.app import make_app
from mailhaul.coordinator.web.doors import opened, ways
from mailhaul.coordinator.web.server import serve
from mailhaul.coordinator.web.site import Site
from mailhaul.proto.structs import replace
from mailhaul.tests.pages import PASSWORD


@contextmanager
def served_here(site: Site) -> Iterator[str]:
    """The base address of a site, as long as the context lasts. ``anna`` may log in, and is an operator."""
    if site.accounts.find("anna") is None:
        site.accounts.add("anna", "operator", (), PASSWORD)
    stop = threading.Event()
    page = site.config.serve.page
    with ExitStack() as stack:
        stack.enter_context(serving(site.staging))
        doors = stack.enter_context(opened(page, site.staging, loopback=True))
        site = replace(site, clock=SystemClock(), ways=ways(page, doors[-1]))
        reported: list[Exception] = []
        thread = threading.Thread(target=serve, args=(make_app(site), page, doors, stop, reported.append))
        thread.start()
        try:
            yield doors[-1].address.rstrip("/")
        finally:
            stop.set()
            thread.join()
        assert reported == []
