"""Operations: what there was, one in full, a new one, and how one is stopped."""

from __future__ import annotations

import shlex
from typing import cast, get_args

from starlette.responses import Response

from ....proto.errors import UsageError
from ....proto.structs import Record
from ...scheduling.coming import Coming, coming
from ...service.handled import HandledMoments
from ...service.records import Kind, Request
from ...serving.files import read_stderr
from ...serving.stopping import check_can_stop, stop
from .. import presence
from ..presence import Standing
from ..routes import OPERATOR, VIEWER, Page, Resource
from ..visits import Visit

_ON_A_PAGE = 50
_MOST = 1000

OFFERED: dict[Kind, str] = {
    "backup": "Back up",
    "sweep": "Sweep: copy to the destinations, free the staging area",
    "verify": "Verify archives",
    "drill": "Drill: restore a sample and compare",
    "purge": "Purge: delete what the retention rules do not keep",
    "inventory": "Tape inventory",
}
"""What can be asked for by the form, in its order; restores begin at a mailbox."""


class ListAsked(Record, kw_only=True):
    """So many, the newest first, that came before this id."""

    count: int = _ON_A_PAGE
    before: int | None = None


class Listed(Record, kw_only=True):
    """Operations, the newest first."""

    operations: tuple[Standing, ...]


class AheadAsked(Record, kw_only=True):
    """So many."""

    count: int = 10


class Ahead(Record, kw_only=True):
    """What the schedule puts in next, by the clock of its ``zone``."""

    zone: str
    next: tuple[Coming, ...]


class NewAsked(Record, kw_only=True):
    """A command of the program, with the arguments that follow its name on a command line, and why."""

    kind: Kind
    arguments: tuple[str, ...] = ()
    reason: str


class StopAsked(Record, kw_only=True):
    """Why an operation is to stop."""

    reason: str


def newest(visit: Visit, count: int, before: int | None) -> Listed:
    """Raises UsageError."""
    if not 1 <= count <= _MOST or (before is not None and not 0 <= before < 2**63):
        raise UsageError(f"expected a count from 1 to {_MOST}, and the id of an operation")
    found = visit.site.operations.newest(count, before)
    return Listed(operations=tuple(presence.standing(visit.site.staging, operation) for operation in found))


def listed(visit: Visit) -> Listed:
    """As the API has it."""
    asked = cast(ListAsked, visit.query)
    return newest(visit, asked.count, asked.before)


def one(visit: Visit) -> Standing:
    """One, by its id. Raises NotFoundError."""
    operation = visit.site.operations.get(min(visit.named("number"), 2**63 - 1))
    return presence.standing(visit.site.staging, operation)


def add(visit: Visit, kind: Kind, arguments: tuple[str, ...]) -> Standing:
    """Put one in. Raises UsageError for what an operation may not be given."""
    site = visit.site
    words = site.admits(kind, arguments)
    request = Request(kind=kind, arguments=words, asked_by=visit.who.asked_by, reason=visit.reason)
    facts = {"arguments": words, **visit.key_facts}
    with visit.act("add operation", on=kind, why=request.reason, **facts) as found:
        operation = visit.put_in(request)
        found["operation"] = operation.id
    return presence.standing(site.staging, operation)


def added(visit: Visit) -> Standing:
    """As the API has it."""
    asked = cast(NewAsked, visit.body)
    return add(visit, asked.kind, asked.arguments)


def stopped(visit: Visit) -> Standing:
    """One is asked to stop. Raises NotFoundError, UsageError."""
    site, number = visit.site, min(visit.named("number"), 2**63 - 1)
    check_can_stop(site.operations.get(number))
    with visit.act("stop operation", on=f"operation {number}", why=visit.reason):
        operation = stop(site.staging, number, site.now)
    return presence.standing(site.staging, operation)


def scheduled(visit: Visit) -> Ahead:
    """What the schedule puts in next. Raises UsageError."""
    site, count = visit.site, cast(AheadAsked, visit.query).count
    if not 1 <= count <= _MOST:
        raise UsageError(f"expected a count from 1 to {_MOST}")
    handled = HandledMoments(site.staging).all()
    ahead = coming(site.config, handled, site.zone, site.now(), count=count)
    return Ahead(zone=str(site.zone), next=ahead)


def table(visit: Visit) -> Response:
    """The newest, or those before one of them."""
    before = visit.asked("before")
    if before and not (before.isdecimal() and len(before) < 19):
        raise UsageError("expected the id of an operation")
    found = newest(visit, _ON_A_PAGE, int(before) if before else None).operations
    older = found[-1].operation.id if len(found) == _ON_A_PAGE else None
    return visit.page("operations.html", operations=found, older=older, **presence.SHOWING)


def full(visit: Visit) -> Response:
    """One in full."""
    shown = one(visit)
    return visit.page(
        "operation_part.html" if visit.is_for_part else "operation.html",
        one=shown,
        said=read_stderr(visit.site.staging, shown.operation.id),
        **presence.SHOWING,
    )


def new(visit: Visit) -> Response:
    """The form; with the command to look at once more, when something was chosen."""
    kind, on, words = visit.asked("kind"), visit.asked("on").strip(), visit.asked("words").strip()
    arguments, problem = None, ""
    if kind:
        try:
            arguments = visit.site.admits(_kind(kind), _arguments(on, words))
        except UsageError as error:
            problem = error.message
    command = None if arguments is None else shlex.join((kind, *arguments))
    return visit.page(
        "operation_new.html",
        status=400 if problem else 200,
        offered=OFFERED,
        kind=kind,
        on=on,
        words=words,
        command=command,
        problem=problem,
    )


def begun(visit: Visit) -> Response:
    """The button was used."""
    form = visit.form
    arguments = _arguments(form.get("on").strip(), form.get("words").strip())
    put_in = add(visit, _kind(form.get("kind")), arguments)
    return visit.go(f"/operations/{put_in.operation.id}")


def ask_to_stop(visit: Visit) -> Response:
    """Whether it is really to stop, and why."""
    shown = one(visit)
    check_can_stop(shown.operation)
    return visit.page("operation_stop.html", one=shown)


def end(visit: Visit) -> Response:
    """The button was used."""
    return visit.go(f"/operations/{stopped(visit).operation.id}")


def _kind(text: str) -> Kind:
    if text not in get_args(Kind):
        raise UsageError("choose what is to be done")
    return cast(Kind, text)


def _arguments(on: str, words: str) -> tuple[str, ...]:
    try:
        return (*shlex.split(words), *([on] if on else []))
    except ValueError:
        raise UsageError("the options can't be read: a quote is not closed") from None


ROUTES = (
    Page(path="/operations", shows=table, allows=VIEWER, menu="Operations"),
    Page(path="/operations", shows=begun, allows=OPERATOR, method="POST"),
    Page(path="/operations/new", shows=new, allows=OPERATOR),
    Page(path="/operations/{number:int}", shows=full, allows=VIEWER),
    Page(path="/operations/{number:int}/stop", shows=ask_to_stop, allows=OPERATOR),
    Page(path="/operations/{number:int}/stop", shows=end, allows=OPERATOR, method="POST"),
    Resource(
        path="/operations",
        answers=listed,
        allows=VIEWER,
        summary="Operations, the newest first",
        answer=Listed,
        query=ListAsked,
    ),
    Resource(
        path="/operations",
        answers=added,
        allows=OPERATOR,
        summary="Put an operation in the queue",
        answer=Standing,
        method="POST",
        body=NewAsked,
    ),
    Resource(
        path="/schedule",
        answers=scheduled,
        allows=VIEWER,
        summary="What the schedule puts in next",
        answer=Ahead,
        query=AheadAsked,
    ),
    Resource(
        path="/operations/{number:int}",
        answers=one,
        allows=VIEWER,
        summary="One operation, with how far it is",
        answer=Standing,
    ),
    Resource(
        path="/operations/{number:int}/stop",
        answers=stopped,
        allows=OPERATOR,
        summary="Stop an operation in order",
        answer=Standing,
        method="POST",
        body=StopAsked,
    ),
)
