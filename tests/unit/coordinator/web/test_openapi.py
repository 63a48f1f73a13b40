"""The API is described as it is."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from mailhaul.coordinator.web.app import routes
from mailhaul.coordinator.web.openapi import described
from mailhaul.coordinator.web.routes import EVERYBODY, OPERATOR, Resource
from mailhaul.proto.structs import Record
from mailhaul.tests.pages import make_site, operator


class Asked(Record, kw_only=True):
    """What is looked for."""

    q: str
    count: int = 10


class Wanted(Record, kw_only=True):
    """What is to be done."""

    reason: str
    paths: tuple[str, ...] = ()


def test_every_resource_is_described(tmp_path: Path) -> None:
    document = operator(make_site(tmp_path)).get("/api/v1/openapi.json").json()
    validate(document)
    there = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    resources = [route for route in routes() if isinstance(route, Resource)]
    assert len(there) == len(resources)
    assert ("/api/v1/me", "GET") in there
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(set(names)) == len(names)


def test_what_is_asked_for_is_described() -> None:
    document = described(
        [
            Resource(
                path="/find/{number:int}/{name}",
                answers=lambda _: None,
                allows=OPERATOR,
                summary="Find",
                answer=tuple[Wanted, ...],
                query=Asked,
            ),
            Resource(
                path="/find/{number:int}/{name}",
                method="POST",
                answers=lambda _: None,
                allows=EVERYBODY,
                summary="Do",
                answer=Wanted,
                body=Wanted,
            ),
        ]
    )
    validate(json.loads(json.dumps(document)))
    found = document["paths"]["/api/v1/find/{number}/{name}"]
    assert [
        (parameter["name"], parameter["in"], parameter["required"])
        for parameter in found["get"]["parameters"]
    ] == [
        ("number", "path", True),
        ("name", "path", True),
        ("q", "query", True),
        ("count", "query", False),
    ]
    assert found["get"]["description"] == "For: operator."
    assert found["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Wanted"
    }
    assert document["components"]["schemas"]["Wanted"]["required"] == ["reason"]


@pytest.mark.parametrize(
    "route", [resource for resource in routes() if isinstance(resource, Resource)], ids=lambda one: one.path
)
def test_an_answer_is_as_it_is_described(tmp_path: Path, route: Resource) -> None:
    """Of a site on which nothing has happened yet."""
    if route.method != "GET" or "{" in route.path or (route.query and route.query.__struct_fields__):
        pytest.skip("it is asked for something")
    client = operator(make_site(tmp_path))
    document = client.get("/api/v1/openapi.json").json()
    answer = client.get(f"/api/v1{route.path}")
    if answer.status_code == 200:
        schema = document["paths"][f"/api/v1{route.path}"]["get"]["responses"]["200"]["content"]
        whole = {**schema["application/json"]["schema"], "components": document["components"]}
        jsonschema_rs.validate(whole, answer.json())
    else:
        assert answer.status_code == 404, answer.text
