"""Looking at pages in a real browser: what they fetch, what they say on the console, how they look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from mailhaul.tests.integration.serving import Served

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 720}
Scheme = Literal["light", "dark"]


@dataclass
class Shown:
    """A site that is served: its ``base`` address, and the cookies that its operator has."""

    served: Served
    base: str
    cookies: list[dict[str, Any]] = field(default_factory=list)


class Visitor:
    """Somebody who looks at pages of a site. ``troubles`` is what the browser complained of, and what it
    asked of any other host."""

    def __init__(self, browser: Browser, shown: Shown, pictures: Path) -> None:
        self.shown = shown
        self.troubles: list[str] = []
        self._browser = browser
        self._pictures = pictures

    def close(self) -> None:
        """No page may have had troubles."""
        assert self.troubles == []

    @contextmanager
    def page(
        self,
        address: str,
        *,
        scheme: Scheme = "light",
        phone: bool = False,
        javascript: bool = True,
        known: bool = True,
    ) -> Iterator[Page]:
        """A page, loaded; for somebody who has logged in if ``known``."""
        context = self._browser.new_context(
            base_url=self.shown.base,
            color_scheme=scheme,
            viewport=PHONE if phone else WIDE,  # type: ignore[arg-type]
            has_touch=phone,
            java_script_enabled=javascript,
            reduced_motion="reduce",
        )
        try:
            if known:
                context.add_cookies(self.shown.cookies)  # type: ignore[arg-type]
            context.on("console", self._console)
            context.on("request", self._request)
            page = context.new_page()
            page.on("pageerror", lambda error: self.troubles.append(f"{page.url}: {error}"))
            page.goto(address, wait_until="load")
            yield page
        finally:
            context.close()

    def picture(self, page: Page, name: str) -> None:
        """Keep what is to be seen, to be looked at: ``build/screenshots/NAME.png``."""
        self._pictures.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=self._pictures / f"{name}.png", full_page=True)

    def _console(self, message: ConsoleMessage) -> None:
        # That a page is a 403 or 404 is said there, too.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.troubles.append(f"{message.location.get('url', '')}: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.shown.base, "data:")):
            self.troubles.append(f"fetched {request.url}")


def violations(page: Page, axe: str, *rules: str) -> list[str]:
    """What axe-core calls serious or critical on a page, with where it is: by all of its rules, or these."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(f"() => {{ {axe} }}")
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{violation['id']}: {violation['help']}: "
        f"{json.dumps([node['target'] for node in violation['nodes']])}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


def overflow(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth"))
