"""The whole API, as its description has it, asked by people for what is not theirs (schemathesis).

Whatever they send: no fault of the program, nothing that is for others, and refusals are in the audit log.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from starlette.testclient import TestClient

from mailhaul.coordinator.config import load
from mailhaul.coordinator.people.flood import Flood
from mailhaul.coordinator.people.roles import Role
from mailhaul.coordinator.web.app import make_app, routes
from mailhaul.coordinator.web.routes import Resource, address
from mailhaul.coordinator.web.site import Site
from mailhaul.proto.structs import replace
from mailhaul.tests.integration.web.shown import backed_up
from mailhaul.tests.pages import api_token, logged_in, make_site, operator, visitor

RESOURCES: dict[tuple[str, str], Resource] = {
    (route.method, _path): route
    for route in routes()
    if isinstance(route, Resource)
    for _path in [address(route).replace(":int}", "}").replace(":path}", "}")]
}
EXAMPLES = 12

pytestmark = pytest.mark.xdist_group("strangers")


OTHERS = (
    "/primary/guests/guest@example.net",
    "/primary/user/guest@example.net",
    "/primary/staff/guest@example.net",
    "/primary/guests/guest@example.net/Projects",
    "/primary/guests/guest@example.net/INBOX/1",
)
"""What is none of a helpdesk's of the group staff, under any name."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with mail of several groups."""
    served = backed_up(tmp_path_factory.mktemp("strangers"))
    site = make_site(served.staging, config=load(served.config))
    # Tokens are made up, too: all that is refused is to be counted.
    return replace(site, flood=Flood(site.clock, most=10**6))


def operations(site: Site) -> Iterator[tuple[Resource, Any]]:
    """Every operation of the description, with the resource that it stands for."""
    document = operator(site).get("/api/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        yield RESOURCES[operation.method.upper(), operation.path], operation


@pytest.mark.parametrize("role", ["viewer", "helpdesk", None])
def test_nobody_gets_what_is_not_theirs(site: Site, role: Role | None, rounds: int) -> None:
    headers: dict[str, str] = {}
    if role is None:
        client = visitor(site)
    else:
        client = logged_in(site, f"some-{role}", role, *(["staff"] if role == "helpdesk" else []))
        headers = api_token(client)
    asked = 0
    for resource, operation in operations(site):
        asked += ask(site, client, resource, operation, role, headers, EXAMPLES * max(1, rounds // 100))
    assert asked >= len(RESOURCES)
    assert [act for act in site.audit.acts() if act["outcome"] == "begun" and act["who"] == ""] == []


def ask(
    site: Site,
    client: TestClient,
    resource: Resource,
    operation: Any,
    role: Role | None,
    headers: dict[str, str],
    examples: int,
) -> int:
    """Ask for one thing in many ways, as the description allows and as it does not; how often."""
    counts, aimed = itertools.count(), itertools.count()
    before = refusals(site)
    refused = itertools.count()

    def once(case: Any) -> None:
        if next(counts) % 2 and role == "helpdesk":
            aim(case, next(aimed))
        sent = case.as_transport_kwargs(base_url="")
        answer = client.request(
            case.method,
            str(sent["url"]),
            params=sent.get("params"),
            json=sent.get("json"),
            content=sent.get("data"),
            headers={**{k: str(v) for k, v in (case.headers or {}).items()}, **headers},
        )
        assert answer.status_code < 500, (case.method, answer.url, answer.text)
        if role is None or role not in (resource.allows or ()):
            assert answer.status_code in (400, 401, 403, 404), (role, case.method, answer.url, answer.text)
        if answer.status_code == 403:
            next(refused)
        assert "Traceback" not in answer.text
        if role == "helpdesk" and answer.status_code == 200:
            assert "guest@example.net" not in answer.text

    strategy = operation.as_strategy()
    bounded = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    bounded(given(case=strategy)(once))()
    if role is not None and role not in (resource.allows or ()):
        assert refusals(site) - before == next(refused) > 0, (resource.method, resource.path)
    return next(counts)


def aim(case: Any, number: int) -> None:
    """Let it ask for a mailbox that there is, and is none of theirs."""
    path = OTHERS[number % len(OTHERS)]
    if isinstance(case.body, dict) and "paths" in case.body:
        case.body = {"kind": "undelete", "paths": [path], "reason": "curious"}
    elif "path" in (case.query or {}):
        case.query = {"path": path, "reason": "curious"}
    elif "text" in (case.query or {}):
        case.query = {"text": "guest"}


def test_what_a_helpdesk_asks_of_others_is_refused_and_on_record(site: Site) -> None:
    client = logged_in(site, "helen", "helpdesk", "staff")
    headers = api_token(client)
    for path in OTHERS:
        asked = {"path": path, "reason": "curious"}
        for address_ in ("mailbox", "messages", "find"):
            answer = client.get(f"/api/v1/mailboxes/{address_}", params=asked)
            assert answer.status_code == 403, (path, address_, answer.text)
        body = {"kind": "undelete", "paths": [path], "reason": "curious"}
        assert client.post("/api/v1/mailboxes/plan", json=body, headers=headers).status_code == 403
    refused = [act for act in site.audit.acts() if (act["who"], act["outcome"]) == ("helen", "refused")]
    assert len(refused) == 4 * len(OTHERS)
    assert {"guest@example.net" in act["on"] for act in refused} == {True}


def refusals(site: Site) -> int:
    """How many are in the audit log."""
    return sum(act["outcome"] == "refused" for act in site.audit.acts())


def test_the_operator_meets_no_fault_either(site: Site, rounds: int) -> None:
    client = TestClient(
        make_app(site), base_url="http://localhost", client=(f"uid:{min(site.ways.owners)}", 0)
    )
    headers = api_token(client)
    for resource, operation in operations(site):
        ask(site, client, resource, operation, "operator", headers, EXAMPLES * max(1, rounds // 100))
