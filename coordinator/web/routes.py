"""What there is on the page and in the API: one table, from which both are served and described."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from ...proto.structs import Record
from ..people.roles import ROLES, Role

if TYPE_CHECKING:
    from starlette.responses import Response

    from .visits import Visit

OPERATOR: tuple[Role, ...] = ("operator",)
VIEWER: tuple[Role, ...] = ("operator", "viewer")
HELPDESK: tuple[Role, ...] = ("operator", "helpdesk")
EVERYBODY: tuple[Role, ...] = ROLES
"""Who is let in. That a helpdesk sees its groups alone is for the page itself to check (``Who.may_in``)."""

API = "/api/v1"


class Page(Record, kw_only=True):
    """Something for people: ``shows`` is called in a thread of its own, may block, and gives a response.

    ``allows`` are the roles that are let in; None lets in whoever comes, also without a log-in. One with a
    ``menu`` is in the menu under that name. What a form sends has the method POST, and comes with the token
    of the form, which is checked before.
    """

    path: str
    shows: Callable[[Visit], Response]
    allows: tuple[Role, ...] | None
    method: Literal["GET", "POST"] = "GET"
    menu: str = ""


class Resource(Record, kw_only=True):
    """Something for programs, below ``/api/v1``: ``answers`` is called in a thread of its own, may block, and
    gives a record of the type ``answer``, or raises an error of ``proto.errors``.

    ``query`` and ``body`` are the types of what is asked for; the visit has such records. Methods but GET
    change something.
    """

    path: str
    answers: Callable[[Visit], object]
    allows: tuple[Role, ...] | None
    summary: str
    answer: object
    method: Literal["GET", "POST"] = "GET"
    query: type[Record] | None = None
    body: type[Record] | None = None


Route = Page | Resource


def address(route: Route) -> str:
    """The path of a page or resource, from the root."""
    return f"{API}{route.path}" if isinstance(route, Resource) else route.path
