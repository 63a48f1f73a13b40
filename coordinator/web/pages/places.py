"""*Places*: where copies lie, what lies in one place only, what was not read for long, what fills up when."""

from __future__ import annotations

from starlette.responses import Response

from ...overview.places import PlacesView, look_at_places
from ..routes import VIEWER, Page, Resource
from ..visits import Visit


def places(visit: Visit) -> PlacesView:
    """As they are on record."""
    site = visit.site
    return look_at_places(site.staging, site.config.destinations, site.now())


def places_page(visit: Visit) -> Response:
    """The page."""
    found = places(visit)
    return visit.page("places.html", found=found, names=[place.name for place in found.places])


ROUTES = (
    Page(path="/places", shows=places_page, allows=VIEWER, menu="Places"),
    Resource(
        path="/places",
        answers=places,
        allows=VIEWER,
        summary="Where copies lie, by place and by group",
        answer=PlacesView,
    ),
)
