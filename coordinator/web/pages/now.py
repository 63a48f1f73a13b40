"""*Now*: what runs, what waits and why, what has ended."""

from __future__ import annotations

from starlette.responses import Response

from ....proto.structs import Record
from ...service.records import Operation
from ..routes import EVERYBODY, VIEWER, Page, Resource
from ..visits import Visit

_ENDED_SHOWN = 20


class Now(Record, kw_only=True):
    """The operations: those under way, those that wait, and the newest that have ended."""

    under_way: tuple[Operation, ...]
    waiting: tuple[Operation, ...]
    ended: tuple[Operation, ...]


class Me(Record, kw_only=True):
    """Who asks, and what their requests that change something bring along in the header ``X-Form-Token``."""

    name: str
    role: str
    groups: tuple[str, ...]
    form_token: str


def state(visit: Visit) -> Now:
    """What there is at the moment."""
    operations = visit.site.operations
    return Now(
        under_way=operations.in_states(("running", "stopping")),
        waiting=operations.in_states(("waiting",)),
        ended=tuple(one for one in operations.newest(_ENDED_SHOWN) if one.ended is not None),
    )


def now(visit: Visit) -> Response:
    """The page."""
    return visit.page("now.html", state=state(visit))


def home(visit: Visit) -> Response:
    """The first page that somebody sees."""
    return visit.go("/mailboxes" if visit.who.role == "helpdesk" else "/now")


def me(visit: Visit) -> Me:
    """Who asks."""
    who = visit.who
    return Me(name=who.name, role=who.role, groups=tuple(sorted(who.groups)), form_token=visit.form_token)


ROUTES = (
    Page(path="/", shows=home, allows=EVERYBODY),
    Page(path="/now", shows=now, allows=VIEWER, menu="Now"),
    Resource(
        path="/now", answers=state, allows=VIEWER, summary="What runs, waits, and has ended", answer=Now
    ),
    Resource(path="/me", answers=me, allows=EVERYBODY, summary="Who asks", answer=Me),
)
