"""Bringing mail back from the page: the plan, then the operation, then what became of it."""

from __future__ import annotations

import re
from functools import partial
from typing import Literal

from starlette.responses import Response

from ....proto.errors import NotFoundError, UsageError
from ....proto.structs import Record, replace
from ...catalog import Catalog
from ...clock import RUN_ID
from ...service.records import ENDED, Operation, Request
from ...serving.progress import read_progress
from ..mailbox_visits import ReasonWanted, enter, path_of, reason_given, refuse_others, whose
from ..plans import Plan, Wish
from ..routes import HELPDESK, Page, Resource
from ..visits import Visit
from .mailboxes import wanted

PLAN = "plan restore"
RESTORE = "restore"
_MOST_SHOWN = 200
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class WishAsked(Record, kw_only=True):
    """What is to be brought back: see ``Wish``. Paths as ``ls`` prints them, moments as run ids."""

    kind: Literal["restore", "undelete"]
    paths: tuple[str, ...]
    reason: str
    at: str = ""
    since: str = ""
    until: str = ""
    into: str = ""


class CarryOutAsked(Record, kw_only=True):
    """A plan that was shown is to be carried out."""

    number: str
    reason: str


class OperationAsked(Record, kw_only=True):
    """An operation by its id."""

    id: int


def wish_of(asked: WishAsked) -> Wish:
    """What somebody wishes, checked. Raises UsageError."""
    for moment in (asked.at, asked.since, asked.until):
        if moment and not RUN_ID.fullmatch(moment) and not _DAY.fullmatch(moment):
            raise UsageError(f"{moment!r} is no run id and no date such as 2026-11-30")
    if asked.kind == "restore" and not asked.at:
        raise UsageError("say as of when: a run id")
    return Wish(
        kind=asked.kind,
        paths=tuple(map(path_of, asked.paths)),
        at=asked.at if asked.kind == "restore" else "",
        since=asked.since if asked.kind == "undelete" else "",
        until=asked.until if asked.kind == "undelete" else "",
        into=asked.into.strip(),
    )


def plan_of(visit: Visit, wish: Wish) -> Plan:
    """The plan of a wish, which is on record: it tells of somebody's mail. Raises AccessError,
    ReasonWanted."""
    if not wish.paths:
        raise UsageError("select something first")
    for path in wish.paths:
        why = enter(visit, path, PLAN)
    visit.looks(PLAN, on=wish.on, why=why, kind=wish.kind)
    site = visit.site
    if wish.kind == "undelete" and not wish.until:
        with Catalog.open(site.staging) as catalog:
            # What is shown is what is done, also if a run ends between the plan and the button.
            wish = replace(wish, until=catalog.resolve_time("latest"))
    keys = partial(site.keys.words, visit.who)
    return site.plans.make(wish, visit.who, site.config_file, site.clock.monotonic(), keys)


def carry_out(visit: Visit, number: str, reason: str) -> Operation:
    """Put what a plan shows in the queue, once."""
    site = visit.site
    now = site.clock.monotonic()
    for path in site.plans.find(number, visit.who, now).paths:
        refuse_others(visit, path, RESTORE)  # whose it is may have changed meanwhile
    wish = site.plans.take(number, visit.who, now)
    arguments = site.admits(wish.kind, wish.arguments)
    request = Request(kind=wish.kind, arguments=arguments, asked_by=visit.who.asked_by, reason=reason)
    facts = {"arguments": arguments, **visit.key_facts}
    with visit.act(wish.kind, on=wish.on, why=reason, **facts) as found:
        operation = visit.put_in(request)
        found["operation"] = operation.id
    return operation


def _asked(visit: Visit) -> WishAsked:
    """What the address asks for."""
    query = visit.request.query_params
    return WishAsked(
        kind="undelete" if query.get("kind") == "undelete" else "restore",
        paths=tuple(query.getlist("path")),
        reason="",
        at=query.get("at", ""),
        since=query.get("since", ""),
        until=query.get("until", ""),
        into=query.get("into", ""),
    )


def restore(visit: Visit) -> Response:
    """What is asked for; the plan comes in as soon as it is made."""
    wish = wish_of(_asked(visit))
    if not wish.paths:
        raise UsageError("Select folders or messages first.")
    try:
        for path in wish.paths:
            enter(visit, path, PLAN)
    except ReasonWanted:
        return wanted(visit, wish.paths[0])
    path = wish.paths[0]
    query = visit.request.url.query
    return visit.page("restore.html", wish=wish, query=query, whose=str(whose(path)), user=path.user)


def plan(visit: Visit) -> Response:
    """The plan, with the button that carries it out."""
    wish = wish_of(_asked(visit))
    try:
        made = plan_of(visit, wish)
    except ReasonWanted:
        return wanted(visit, wish.paths[0])
    path = wish.paths[0]
    return visit.page(
        "plan_body.html" if visit.is_for_part else "plan_alone.html", plan=made, whose=str(whose(path)),
        reason=reason_given(visit, path), most=_MOST_SHOWN, user=path.user,
    )  # fmt: skip


def begin(visit: Visit) -> Response:
    """The button was used."""
    operation = carry_out(visit, visit.form.get("plan"), visit.reason)
    return visit.go(f"/mailboxes/operation?id={operation.id}")


def operation(visit: Visit) -> Response:
    """What became of it."""
    number = visit.asked("id")
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise UsageError("operations have numbers")
    one = operation_of(visit, int(number))
    template = "operation_state.html" if visit.is_for_part else "operation_asked.html"
    paths = [word for word in one.request.arguments if word.startswith("/")]
    where = str(whose(path_of(paths[0]))) if paths else ""
    progress = read_progress(visit.site.staging, one.id)
    return visit.page(template, operation=one, is_over=one.state in ENDED, whose=where, progress=progress)


def operation_of(visit: Visit, number: int) -> Operation:
    """An operation that somebody asked for from here; an operator sees those of all. Raises NotFoundError."""
    one = visit.site.operations.get(number)
    if visit.who.role == "helpdesk" and one.request.asked_by != visit.who.asked_by:
        visit.refused("see operation", on=str(number))
        raise NotFoundError(f"there is no operation {number}", operation=number)
    return one


def _plan(visit: Visit) -> Plan:
    return plan_of(visit, wish_of(visit.body))


def _carried_out(visit: Visit) -> Operation:
    return carry_out(visit, visit.body.number, visit.reason)


def _operation(visit: Visit) -> Operation:
    return operation_of(visit, visit.query.id)


ROUTES = (
    Page(path="/mailboxes/restore", shows=restore, allows=HELPDESK),
    Page(path="/mailboxes/plan", shows=plan, allows=HELPDESK),
    Page(path="/mailboxes/restore", shows=begin, allows=HELPDESK, method="POST"),
    Page(path="/mailboxes/operation", shows=operation, allows=HELPDESK),
    Resource(
        path="/mailboxes/plan", answers=_plan, allows=HELPDESK, method="POST", body=WishAsked, answer=Plan,
        summary="What a restore or an undelete would do",
    ),
    Resource(
        path="/mailboxes/restore", answers=_carried_out, allows=HELPDESK, method="POST", body=CarryOutAsked,
        answer=Operation, summary="Put what a plan shows in the queue",
    ),
    Resource(
        path="/mailboxes/operation", answers=_operation, allows=HELPDESK, query=OperationAsked,
        answer=Operation, summary="An operation that was asked for here",
    ),
)  # fmt: skip
