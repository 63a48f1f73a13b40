"""Between the router and a page: who asks, whether they may, whether the form is ours; and errors after it.

In this order: who it is, the role, the token of the form, what is asked for, the page itself. A refusal of
somebody who is known is in the audit log before it is told.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from ...proto.errors import AccessError, BackupError, UsageError
from ...proto.structs import Record, converted
from ..documents import plain
from ..people.roles import Who
from .crowds import Crowd
from .forms import Form
from .identification import address, identified, renew_session
from .problems import Problems, is_api
from .rendering import Renderer
from .routes import Page, Route
from .site import Site
from .visits import FORM_TOKEN, FORM_TOKEN_HEADER, Visit

LOG_IN = "/log-in"
_AT_ONCE = 12
"""So many requests of an account are answered at the same time, each in a thread. There are 40 threads."""


class Guards:
    """Makes endpoints of routes."""

    def __init__(self, site: Site, renderer: Renderer, problems: Problems) -> None:
        self._site = site
        self._renderer = renderer
        self._problems = problems
        self._crowd = Crowd("requests at a time", each=_AT_ONCE, in_all=None, retry_seconds=2)

    def endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        """What starlette calls for a route: everything but reading the request is done in a thread."""

        async def endpoint(request: Request) -> Response:
            try:
                body = b"" if request.method in ("GET", "HEAD") else await request.body()
            except ClientDisconnect:
                return Response(status_code=400)
            return await run_in_threadpool(self._answer, route, request, body)

        return endpoint

    def _answer(self, route: Route, request: Request, body: bytes) -> Response:
        nobody = Visit(self._site, self._renderer, request, None, Form())
        try:
            who = identified(self._site, request)
        except AccessError as error:
            nobody.refused(_what(route), reason=error.message)
            return self._problems.of_error(nobody, error)
        except BackupError as error:
            return self._problems.of_error(nobody, error)
        visit = Visit(self._site, self._renderer, request, who, Form())
        response = self._tried(route, visit, who, body)
        if not visit.is_by_itself:
            renew_session(self._site, request, response)
        return response

    def _tried(self, route: Route, visit: Visit, who: Who | None, body: bytes) -> Response:
        request = visit.request
        try:
            if (refusal := self._refusal(route, visit, who)) is not None:
                return refusal
            _read_what_is_asked(route, visit, body)
            if request.method not in ("GET", "HEAD") and not self._has_form_token(visit):
                raise AccessError(
                    "the form is too old, or not ours: go back, load the page again, and repeat"
                )
            with self._crowd.entered(who.name if who else f"from {address(request)}"):
                return _called(route, visit)
        except HTTPException:
            raise
        except BackupError as error:
            return self._problems.of_error(visit, error)
        except Exception as error:
            return self._problems.of_accident(visit, error)

    def _refusal(self, route: Route, visit: Visit, who: Who | None) -> Response | None:
        if route.allows is None:
            return None
        if who is None:
            return self._log_in_first(visit)
        if who.role in route.allows:
            return None
        visit.refused(_what(route), on=visit.request.url.path)
        return self._problems.told(visit, 403, f"A {who.role} may not do that.", code=AccessError.code)

    def _log_in_first(self, visit: Visit) -> Response:
        request = visit.request
        if is_api(request):
            return self._problems.told(
                visit, 401, "log in, or send a token", headers={"WWW-Authenticate": "Bearer"}
            )
        to = request.url.path if request.method == "GET" and not visit.is_for_part else "/"
        query = "" if to == "/" else f"?to={request.url.path}"
        if visit.is_for_part:
            return Response(status_code=401, headers={"HX-Redirect": LOG_IN})
        return RedirectResponse(f"{LOG_IN}{query}", status_code=303)

    def _has_form_token(self, visit: Visit) -> bool:
        request, sessions = visit.request, self._site.sessions
        if visit.is_known and visit.who.session == "token":
            return True  # a browser does not send that by itself
        token = request.headers.get(FORM_TOKEN_HEADER) or visit.form.get(FORM_TOKEN)
        return sessions.is_form_token(token, visit.who.session if visit.is_known else "")


def _called(route: Route, visit: Visit) -> Response:
    if isinstance(route, Page):
        return route.shows(visit)
    answer = route.answers(visit)
    return answer if isinstance(answer, Response) else JSONResponse(plain(answer))


def _read_what_is_asked(route: Route, visit: Visit, body: bytes) -> None:
    if isinstance(route, Page):
        visit.form = Form.parse(body, visit.request.headers.get("content-type", ""))
        return
    if route.query is not None:
        visit.query = _record(dict(visit.request.query_params), route.query, is_text=True)
    if route.body is not None:
        kind = visit.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UsageError("the body has to be application/json")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise UsageError("the body is no JSON document") from None
        visit.body = _record(document, route.body, is_text=False)


def _record(document: object, kind: type[Record], *, is_text: bool) -> Record:
    try:
        return converted(document, kind, from_text=is_text)
    except ValueError as error:
        raise UsageError(f"what is asked for can't be read: {error}") from None


def _what(route: Route) -> str:
    return f"{route.method} {route.path}"
