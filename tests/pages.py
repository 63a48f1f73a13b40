"""The page without a server: a site in a directory of the test, and visitors to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from mailhaul.coordinator.cli.operation_words import checked
from mailhaul.coordinator.people.accounts import Accounts
from mailhaul.coordinator.people.passwords import Cost
from mailhaul.coordinator.people.roles import Role
from mailhaul.coordinator.service.records import Kind
from mailhaul.coordinator.settings import Config, StagingConfig
from mailhaul.coordinator.web.app import make_app
from mailhaul.coordinator.web.site import Site, site_of
from mailhaul.coordinator.web.ways import Ways
from mailhaul.proto.records import Partition
from mailhaul.proto.structs import replace

PASSWORD = "correct horse battery"
CHEAP = Cost(n=2, r=1, p=1)
_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


class SettableClock:
    """Time that stands still until a test moves it."""

    def __init__(self, seconds: float = 1_800_000_000.0) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def make_site(
    staging: Path,
    *,
    clock: SettableClock | None = None,
    ways: Ways | None = None,
    config: Config | None = None,
) -> Site:
    """A site whose errors nobody expected are those of the test."""

    def fail(error: BaseException, number: str) -> None:
        pytest.fail(f"{number}: {error!r}")

    config = config or Config(
        staging=StagingConfig(path=staging),
        partitions=(Partition(name="primary", format="maildir", path=f"{staging}/mail/{{user}}"),),
    )

    def admits(kind: Kind, arguments: Sequence[str]) -> tuple[str, ...]:
        return checked(kind, arguments, elsewhere=True)

    site = site_of(config, clock or SettableClock(), ways=ways, admits=admits, on_error=fail)
    return replace(site, accounts=Accounts(staging, CHEAP))


def operator(site: Site) -> TestClient:
    """Whoever runs the program, at the Unix socket."""
    owner = min(site.ways.owners)
    return TestClient(
        make_app(site), base_url="http://localhost", client=(f"uid:{owner}", 0), follow_redirects=False
    )


def visitor(site: Site, address: str = "192.0.2.7") -> TestClient:
    """Somebody who comes over TCP and TLS, and has not logged in."""
    return TestClient(
        make_app(site), base_url="https://localhost", client=(address, 40_000), follow_redirects=False
    )


def logged_in(site: Site, name: str, role: Role, *groups: str) -> TestClient:
    """Somebody with an account, which is made if there is none."""
    if site.accounts.find(name) is None:
        site.accounts.add(name, role, groups, PASSWORD)
    client = visitor(site)
    answer = log_in(client, name, PASSWORD)
    assert answer.status_code == 303, answer.text
    return client


def log_in(client: TestClient, name: str, password: str, to: str = "") -> Response:
    """Send the form."""
    token = form_token(client.get("/log-in").text)
    return client.post("/log-in", data={"form_token": token, "name": name, "password": password, "to": to})


def form_token(page: str) -> str:
    """The token of the forms on a page."""
    found = _TOKEN.search(page)
    assert found, page
    return found[1]


def api_token(client: TestClient) -> dict[str, str]:
    """The header that requests of the API which change something bring along."""
    return {"X-Form-Token": client.get("/api/v1/me").json()["form_token"]}
