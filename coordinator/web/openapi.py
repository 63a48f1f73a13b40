"""The API described, as OpenAPI 3.1, from the same table that it is served from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from ... import __version__
from ...proto.structs import Record, json_schemas
from .routes import EVERYBODY, Resource, Route, address

_REFERENCE = "#/components/schemas/{name}"
_PART = re.compile(r"\{(\w+)(?::(\w+))?\}")
_PART_SCHEMAS: dict[str, dict[str, Any]] = {
    "int": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    "": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
    "path": {"type": "string", "minLength": 1},
}
_WHAT_GOES_WRONG = {
    "400": "What is asked for can't be read, or makes no sense",
    "401": "Nobody has logged in",
    "403": "Not for this role, or the token of the form is missing",
    "404": "There is no such thing",
    "409": "It is held, locked, or there already",
    "413": "The request is too large",
    "500": "Something is damaged, or the program has a fault",
    "503": "Something can't be reached at the moment",
}


class Problem(Record, kw_only=True):
    """What went wrong: a stable ``code``, a message for people, and the facts."""

    code: str
    message: str
    facts: dict[str, object]


class Refusal(Record, kw_only=True):
    """The answer where there is no other."""

    error: Problem


def description(table: Callable[[], Iterable[Route]]) -> Resource:
    """The resource that describes a table of routes, itself among them."""

    @cache
    def document() -> dict[str, Any]:
        return described([route for route in table() if isinstance(route, Resource)])

    return Resource(
        path="/openapi.json",
        answers=lambda _visit: document(),
        allows=EVERYBODY,
        summary="This description",
        answer=dict[str, object],
    )


def described(resources: Sequence[Resource]) -> dict[str, Any]:
    """The document."""
    kinds = [Refusal]
    for resource in resources:
        kinds += [kind for kind in (resource.answer, resource.body) if kind is not None]  # type: ignore[misc]
    (refusal, *schemas), components = json_schemas(kinds, _REFERENCE)
    found = iter(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for one in resources:
        answer, body = next(found), next(found) if one.body is not None else None
        operation = _operation(one, answer, body, refusal)
        paths.setdefault(_PART.sub(r"{\1}", address(one)), {})[one.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailhaul",
            "version": __version__,
            "description": "What is on record, to look at and to act from. A program sends a token "
            "(`mailhaul users token NAME`); with a session, or at the Unix socket, what changes something "
            "needs the header X-Form-Token as well, which /api/v1/me gives.",
        },
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-mailhaul"},
            },
        },
    }


def _operation(
    resource: Resource, answer: dict[str, Any], body: dict[str, Any] | None, refusal: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": resource.summary,
        "operationId": _identifier(resource),
        "parameters": [*_parts(resource), *_query(resource)],
        "responses": {
            "200": {"description": resource.summary, "content": _json(answer)},
            **{
                status: {"description": text, "content": _json(refusal)}
                for status, text in _WHAT_GOES_WRONG.items()
            },
        },
    }
    if resource.allows is None:
        operation["security"] = []
    elif set(resource.allows) != set(EVERYBODY):
        operation["description"] = f"For: {', '.join(resource.allows)}."
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    return operation


def _identifier(resource: Resource) -> str:
    words = re.findall(r"[a-z]+", _PART.sub(r"\1", resource.path))
    return "_".join([resource.method.lower(), *words])


def _parts(resource: Resource) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PART_SCHEMAS[kind]}
        for name, kind in _PART.findall(resource.path)
    ]


def _query(resource: Resource) -> list[dict[str, Any]]:
    if resource.query is None:
        return []
    (reference,), components = json_schemas([resource.query], _REFERENCE)
    schema = components[reference["$ref"].rpartition("/")[2]]
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": field}
        for name, field in schema["properties"].items()
    ]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
