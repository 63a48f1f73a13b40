"""A request, as pages and resources see it: who asks for what, and how to answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ...proto.errors import AccessError, UsageError
from ...proto.structs import replace
from ..people.audit import Act
from ..people.roles import Who
from ..service.records import Operation
from ..service.records import Request as OperationRequest
from ..serving.private_keys import HeldKey
from .forms import Form
from .identification import address
from .rendering import Renderer
from .routes import API
from .site import Site

FORM_TOKEN = "form_token"  # noqa: S105 (the name of a field)
FORM_TOKEN_HEADER = "x-form-token"  # noqa: S105 (the name of a header)


class Visit:
    """One request. ``who`` asks; of a Resource, ``query`` and ``body`` are what it asks for."""

    def __init__(self, site: Site, renderer: Renderer, request: Request, who: Who | None, form: Form) -> None:
        self.site = site
        self.request = request
        self.form = form
        self.query: Any = None
        self.body: Any = None
        self._who = who
        self._renderer = renderer

    @property
    def who(self) -> Who:
        """Who asks. Raises AccessError for somebody who has not logged in."""
        if self._who is None:
            raise AccessError("nobody has logged in")
        return self._who

    def became_known(self, who: Who) -> None:
        """Who asks has just said who they are, and it was checked."""
        self._who = who

    @property
    def is_known(self) -> bool:
        """Whether somebody has logged in."""
        return self._who is not None

    @property
    def is_for_part(self) -> bool:
        """Whether htmx asks, which puts a part into the page that it has."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def is_by_itself(self) -> bool:
        """Whether a page asks, of which nobody knows whether anybody is before it: for parts, and for events,
        which a browser asks for again and again."""
        return self.is_for_part or "text/event-stream" in self.request.headers.get("accept", "")

    def asked(self, name: str, default: str = "") -> str:
        """A value of the address, behind its question mark."""
        return self.request.query_params.get(name, default)

    def named(self, name: str) -> Any:
        """A value in the path of the address."""
        return self.request.path_params[name]

    @property
    def form_token(self) -> str:
        """What forms on this page bring along."""
        return self.site.sessions.form_token(self._who.session if self._who else "")

    def page(self, template: str, /, *, status: int = 200, **values: object) -> HTMLResponse:
        """A page, or a part of one, from a template. It is never kept by a browser or proxy."""
        text = self._renderer.rendered(
            template,
            {
                "who": self._who,
                "path": self.request.url.path,
                "address": self._address,
                "form_token": self.form_token,
                "now": self.site.now(),
                "handed_key": self.site.keys.handed(self._who) if self._who else None,
                **values,
            },
        )
        return HTMLResponse(text, status_code=status)

    @property
    def _address(self) -> str:
        """Where a page can be had again; nothing for what a form has sent."""
        url = self.request.url
        return f"{url.path}?{url.query}" if self.request.method == "GET" else "/"

    def go(self, path: str) -> Response:
        """Another page is to be shown: after something was done."""
        if self.is_for_part:
            return Response(status_code=204, headers={"HX-Redirect": path})
        return RedirectResponse(path, status_code=303)

    @property
    def reason(self) -> str:
        """The reason that was given in the form. Raises UsageError where there is none."""
        reason = (
            self.body.reason if self.request.url.path.startswith(API) else self.form.get("reason")
        ).strip()
        if not reason:
            raise UsageError("say why: the reason is put on record")
        return str(reason)

    @property
    def key(self) -> HeldKey | None:
        """The private key that opens archives for whoever asks."""
        return self.site.keys.of(self.who)

    @property
    def key_facts(self) -> dict[str, object]:
        """What the audit log says of the key that somebody has handed in, where an operation may use it."""
        key = self.site.keys.handed(self.who)
        return {} if key is None else {"key": key.names}

    def put_in(self, request: OperationRequest) -> Operation:
        """Put an operation in the queue. What was handed in here is there for it."""
        site = self.site
        with site.keys.lending(self.who) as lend:
            operation = site.operations.add(request, site.now())
            lend(operation.id)
        return operation

    def act(
        self, what: str, *, on: str = "", why: str = "", **facts: object
    ) -> AbstractContextManager[dict[str, object]]:
        """Around whatever changes something: the audit log says durably that it is begun before it is, and
        how it ended, with what was put into the context. Raises StagingError, and nothing is done, where
        that can't be written."""
        return self.site.audit.acting(self._act(what, on, why, facts))

    def looks(self, what: str, *, on: str, why: str = "", **facts: object) -> None:
        """Before anything of somebody's mail is shown: the audit log says so durably. Raises StagingError."""
        self.site.audit.append(replace(self._act(what, on, why, facts), outcome="done"))

    def refused(self, what: str, *, on: str = "", **facts: object) -> None:
        """Somebody asked for what is not theirs; an AccessError goes to whoever asked, by the caller. Of
        people who are not known, no more is put on record than a disk can bear: the others are counted."""
        if self._who is None:
            left_out = self.site.flood.passed()
            if left_out is None:
                return
            facts = {**facts, **({"left_out_before": left_out} if left_out else {})}
        self.site.audit.append(replace(self._act(what, on, "", facts), outcome="refused"))

    def _act(self, what: str, on: str, why: str, facts: dict[str, object]) -> Act:
        who = self._who
        return Act(
            when=self.site.now(),
            who=who.name if who else "",
            role=who.role if who else "",
            where=address(self.request),
            what=what,
            on=on,
            why=why,
            facts=facts,
        )
