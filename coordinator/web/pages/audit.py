"""*Audit*: who did what, and why."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from starlette.responses import Response

from ....proto.errors import UsageError
from ....proto.structs import Record
from ...people.audit import Newest, is_about
from ..routes import OPERATOR, Page, Resource
from ..visits import Visit

_ON_A_PAGE = 50
_MOST = 1000


class ActsAsked(Record, kw_only=True):
    """So many acts, the newest first: of somebody, about a path or what is below it, before a position."""

    who: str = ""
    on: str = ""
    count: int = _ON_A_PAGE
    before: int | None = None


def found(visit: Visit, asked: ActsAsked) -> Newest:
    """Raises UsageError."""
    if not 1 <= asked.count <= _MOST or (asked.before is not None and not 0 < asked.before < 2**63):
        raise UsageError(f"expected a count from 1 to {_MOST}, and a position in the log")
    who, on = asked.who.strip(), asked.on.strip()
    return visit.site.audit.newest(asked.count, lambda act: is_about(act, who, on), asked.before)


def acts(visit: Visit) -> Newest:
    """As the API has it."""
    return found(visit, cast(ActsAsked, visit.query))


def page(visit: Visit) -> Response:
    """The newest, or those before."""
    before = visit.asked("before")
    if before and not (before.isdecimal() and len(before) < 19):
        raise UsageError("expected a position in the log")
    asked = ActsAsked(who=visit.asked("who"), on=visit.asked("on"), before=int(before) if before else None)
    shown = found(visit, asked)
    words: dict[str, Any] = {"who": asked.who, "on": asked.on, "before": shown.older}
    return visit.page(
        "audit.html",
        asked=asked,
        acts=shown.acts,
        is_cut=shown.is_cut,
        older=None if shown.older is None else f"/audit?{urlencode(words)}",
    )


ROUTES = (
    Page(path="/audit", shows=page, allows=OPERATOR, menu="Audit"),
    Resource(
        path="/audit",
        answers=acts,
        allows=OPERATOR,
        summary="Who did what, and why",
        answer=Newest,
        query=ActsAsked,
    ),
)
