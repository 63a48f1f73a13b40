"""Errors as answers: a page for people, a document below ``/api``. Neither holds a traceback."""

from __future__ import annotations

import secrets
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...proto.errors import (
    AccessError,
    BackupError,
    BusyError,
    ConfigError,
    DamagedError,
    EncryptedError,
    ErasedError,
    ExistsError,
    HeldError,
    LockedError,
    NotFoundError,
    UsageError,
)
from ..documents import plain
from .forms import Form
from .rendering import Renderer
from .site import Site
from .visits import Visit

_STATUS: tuple[tuple[type[BackupError], int], ...] = (
    (NotFoundError, 404),
    (AccessError, 403),
    (ErasedError, 410),
    (EncryptedError, 409),
    (UsageError, 400),
    (HeldError, 409),
    (LockedError, 409),
    (ExistsError, 409),
    (ConfigError, 500),
    (DamagedError, 500),
)
_TITLES = {
    400: "That can't be done",
    401: "Log in first",
    403: "Not for you",
    404: "Not here",
    405: "Not this way",
    409: "Not now",
    410: "Gone for good",
    413: "Too much at once",
    429: "Too many at once",
    500: "Something went wrong",
    503: "Not at the moment",
}


def status_of(error: BackupError) -> int:
    """The status of an answer that tells of an error."""
    if isinstance(error, BusyError) and error.yours:
        return 429
    known = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return 503 if known == 500 and error.retryable else known


def is_api(request: Request) -> bool:
    """Whether a program asks."""
    return request.url.path.startswith("/api/")


class Problems:
    """Makes answers of errors."""

    def __init__(self, site: Site, renderer: Renderer) -> None:
        self._site = site
        self._renderer = renderer

    def of_error(self, visit: Visit, error: BackupError) -> Response:
        """For an error that was raised on purpose: its message is meant to be read."""
        facts = {name: value for name, value in error.facts.items() if name != "traceback"}
        retry = error.facts.get("retry_seconds")
        headers = None if retry is None else {"Retry-After": str(retry)}
        return self.told(
            visit, status_of(error), error.message, code=error.code, facts=facts, headers=headers
        )

    def of_accident(self, visit: Visit, error: BaseException) -> Response:
        """For one that nobody expected: it goes to the log under a number, and nothing of it to the page."""
        number = secrets.token_hex(4)
        self._site.on_error(error, number)
        message = f"This is a fault of the program. It is in the log of mailhaul serve as {number}."
        return self.told(visit, 500, message, code="unexpected", facts={"number": number})

    def told(
        self,
        visit: Visit,
        status: int,
        message: str,
        *,
        code: str = "",
        facts: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """An answer with a status that is no success, and what it says."""
        if is_api(visit.request):
            told = {"code": code or _code(status), "message": message, "facts": facts or {}}
            return JSONResponse({"error": plain(told)}, status_code=status, headers=headers)
        title = _TITLES.get(status) or HTTPStatus(status).phrase
        is_locked = code == EncryptedError.code and visit.is_known
        page = visit.page("problem.html", status=status, title=title, message=message, is_locked=is_locked)
        page.headers.update(headers or {})
        return page

    def outside(self, request: Request, error: BackupError) -> Response:
        """For an error that was raised where nobody knows who asks."""
        return self.of_error(self._nobodys(request), error)

    def of_status(self, request: Request, status: int, headers: dict[str, str] | None = None) -> Response:
        """For what no page was asked about: an address that there is not, a method that it does not take."""
        message = {
            404: "There is no such page.",
            405: "The page does not take that.",
            413: "That is more than this page takes.",
        }.get(status, HTTPStatus(status).phrase)
        return self.told(self._nobodys(request), status, message, headers=headers)

    def _nobodys(self, request: Request) -> Visit:
        return Visit(self._site, self._renderer, request, None, Form())


def _code(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "-")
