"""*Now*: what runs, what waits and why, what has ended last; and who asks."""

from __future__ import annotations

from starlette.responses import Response

from ....proto.structs import Record
from .. import presence
from ..presence import Now
from ..routes import API, EVERYBODY, VIEWER, Page, Resource
from ..visits import Visit
from ..watch import Stream


class Me(Record, kw_only=True):
    """Who asks, and what their requests that change something bring along in the header ``X-Form-Token``."""

    name: str
    role: str
    groups: tuple[str, ...]
    form_token: str


def state(visit: Visit) -> Now:
    """What goes on."""
    return presence.present(visit.site)


def now(visit: Visit) -> Response:
    """The page."""
    return visit.page("now.html", state=state(visit), **presence.SHOWING)


def part(visit: Visit) -> Response:
    """What of the page changes."""
    return visit.page("now_part.html", state=state(visit), **presence.SHOWING)


def events(visit: Visit) -> Response:
    """A stream of what goes on, after each change."""
    return Stream(visit.request.app.state.watch, visit.who.name)


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
    Page(path="/now/part", shows=part, allows=VIEWER),
    Page(path="/now/events", shows=events, allows=VIEWER),
    Page(path=f"{API}/now/events", shows=events, allows=VIEWER),
    Resource(path="/now", answers=state, allows=VIEWER, summary="What goes on", answer=Now),
    Resource(path="/me", answers=me, allows=EVERYBODY, summary="Who asks", answer=Me),
)
