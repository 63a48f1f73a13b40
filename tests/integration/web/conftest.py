"""A browser, and a page for it to look at: Chromium and ``mailhaul serve`` over a small store, one of each.

All tests with them are in the group ``browser``, so that they are started once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from mailhaul.tests.integration.web.looking import Shown, Visitor
from mailhaul.tests.integration.web.shown import shown_site

IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="module")
def browser(require_tool: Callable[[str], Path]) -> Iterator[Browser]:
    """Chromium. Not for longer than a module: while Playwright is there, an event loop of its own is that of
    this thread, and tests that run one fail."""
    chromium = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(root: Path) -> str:
    """The source of axe-core, which finds what people can't use who don't see or point."""
    file = root / "build" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        reason = "axe-core is not installed (make servers installs it where there is npm)"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    return file.read_text()


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A site with some nights behind it, served."""
    with shown_site(tmp_path_factory.mktemp("shown")) as served:
        yield served


@pytest.fixture
def visitor(browser: Browser, shown: Shown, root: Path) -> Iterator[Visitor]:
    """An operator with a browser of their own; whatever goes wrong in it fails the test."""
    visitor = Visitor(browser, shown, root / "build" / "screenshots")
    yield visitor
    visitor.close()
