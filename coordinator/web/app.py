"""The application: every page and resource under its address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as Path
from starlette.staticfiles import StaticFiles

from ...proto.errors import BusyError
from .guards import Guards
from .headers import Envelope
from .openapi import description
from .pages import PAGES
from .presence import present
from .problems import Problems
from .rendering import STATIC, Entry, Renderer
from .routes import Page, Route, address
from .site import Site
from .watch import Watch

_LARGEST_REQUEST = 1024 * 1024


def routes() -> tuple[Route, ...]:
    """All that there is."""
    table: tuple[Route, ...] = tuple(route for page in PAGES for route in page.ROUTES)
    return (*table, description(lambda: routes()))


def make_app(site: Site) -> Starlette:
    """The application for a site."""
    table = routes()
    renderer = Renderer(_menu(table))
    problems = Problems(site, renderer)
    guards = Guards(site, renderer, problems)

    async def of_status(request: Request, error: Exception) -> Response:
        status, headers = (
            (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
        )
        return problems.of_status(request, status, dict(headers or {}))

    async def of_crowd(request: Request, error: Exception) -> Response:
        if not isinstance(error, BusyError):
            raise error
        return problems.outside(request, error)

    paths: list[BaseRoute] = [
        Path(_routed(address(route)), guards.endpoint(route), methods=[route.method]) for route in table
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watch = Watch(lambda: present(site), lambda error: site.on_error(error, "watch"))
        app.state.watch = watch
        task = asyncio.create_task(watch.run())
        try:
            yield
        finally:
            watch.close()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return Starlette(
        lifespan=lifespan,
        routes=[*paths, Mount("/static", _Static(directory=STATIC))],
        middleware=[Middleware(Envelope, names=site.ways.names)],
        exception_handlers={HTTPException: of_status, BusyError: of_crowd},
        max_body_size=_LARGEST_REQUEST,
    )


class _Number(IntegerConvertor):
    """Python makes no number of thousands of digits, and would say so in the middle of the router."""

    regex = "[0-9]{1,18}"


register_url_convertor("number", _Number())


def _routed(path: str) -> str:
    return path.replace(":int}", ":number}")


def _menu(table: Iterable[Route]) -> tuple[Entry, ...]:
    return tuple(
        Entry(route.menu, route.path, route.allows)
        for route in table
        if isinstance(route, Page) and route.menu and route.allows is not None
    )


class _Static(StaticFiles):
    """Files that may be kept by the browser: their addresses change with what is in them."""

    def file_response(self, *arguments: object, **named: object) -> Response:
        response: Response = super().file_response(*arguments, **named)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
