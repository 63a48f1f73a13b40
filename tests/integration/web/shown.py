"""The site that the tests of the page look at: two groups, three users, three nights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from mailhaul.coordinator.web.app import routes
from mailhaul.coordinator.web.routes import Page
from mailhaul.tests.integration.serving import Served
from mailhaul.tests.integration.web.looking import Shown

GROUPS = """
[groups]
file = "groups.conf"
"""

ADDRESSES = (
    *(
        route.path
        for route in routes()
        if isinstance(route, Page)
        and route.method == "GET"
        and "{" not in route.path
        and route.allows is not None
        and not route.path.endswith(("/events", "/part"))
    ),
    "/runs/latest",
    "/nothing",
)
"""What is looked at: every page without a part in its address that stands for something, and others with
one."""


@contextmanager
def shown_site(place: Path) -> Iterator[Shown]:
    """The site, served, with the cookies of its operator."""
    with being_served(backed_up(place)) as shown:
        yield shown


def backed_up(place: Path) -> Served:
    """The site, not served yet."""
    served = Served(place, more=GROUPS)
    (place / "groups.conf").write_text("staff=(jane|joe)@.*\nguests=guest@.*\n")
    for user in ("jane@example.org", "joe@example.org", "guest@example.net"):
        _deliver(served.store / user, 1, "Invoice")
        _deliver(served.store / user / ".Projects", 2, "Plans")
    served.run("backup")
    _deliver(served.store / "jane@example.org", 3, "Minutes")
    served.run("backup")
    (served.store / "jane@example.org" / ".Projects" / "cur" / "2.M2P1.host:2,S").unlink()
    served.run("backup", status=(0, 3))
    return served


@contextmanager
def being_served(served: Served) -> Iterator[Shown]:
    """A site, served, with the cookies of its operator."""
    with served.serving("--browse") as process:
        assert process.stderr
        address = next(
            found[1] for line in process.stderr if (found := re.search(r"one browser, once: (\S+)", line))
        )
        base = address.partition("/enter")[0]
        answer = httpx.get(address, timeout=30)
        assert answer.status_code == 303
        cookies = [{"name": name, "value": value, "url": base} for name, value in answer.cookies.items()]
        yield Shown(served, base, cookies)


def _deliver(mailbox: Path, number: int, subject: str) -> None:
    """One message, read."""
    for directory in ("cur", "new", "tmp"):
        (mailbox / directory).mkdir(parents=True, exist_ok=True)
    text = (
        f"From: Ann <ann@example.com>\nTo: Jane <jane@example.org>\nSubject: {subject}\n"
        f"Date: Mon, 30 Nov 2026 09:0{number}:00 +0000\n"
        f"Message-ID: <{number}@example.com>\n\nText of {subject}.\n"
    )
    (mailbox / "cur" / f"{number}.M{number}P1.host:2,S").write_text(text)
