"""Logging in and out."""

from __future__ import annotations

import os

from starlette.responses import Response

from ....proto.errors import AccessError
from ...people.accounts import Account
from ...people.local_user import user_name
from ...people.roles import Who
from ...texts import duration
from ..guards import LOG_IN
from ..identification import (
    LOCAL,
    address,
    cookie_name,
    current_session,
    device_cookie_name,
    is_encrypted,
    set_device,
    set_session,
    who_of,
)
from ..routes import EVERYBODY, Page
from ..visits import Visit


def form(visit: Visit) -> Response:
    """The form, or the page that somebody comes from who is known already."""
    if visit.is_known:
        return visit.go(way_on(visit.asked("to")))
    return visit.page("log_in.html", to=visit.asked("to"), name="", problem="")


def log_in(visit: Visit) -> Response:
    """Name and password, checked as often as is allowed."""
    name, password = visit.form.get("name"), visit.form.get("password")
    where, site = address(visit.request), visit.site
    cookie = visit.request.cookies.get(device_cookie_name(visit.request), "")
    device = site.devices.id_of(cookie, site.accounts.find(name))
    pause = site.attempts.pause_seconds(name, where, device)
    if pause > 0:
        visit.refused("log in", on=name, pause_seconds=round(pause))
        return _again(visit, 429, f"Too many attempts: try again in {duration(round(pause) or 1)}.")
    with site.attempts.trying() as may:
        if not may:
            return _again(visit, 429, "Many people log in at the moment: try again.")
        account = site.accounts.log_in(name, password)
    if account is None:
        site.attempts.failed(name, where, device)
        visit.refused("log in", on=name)
        return _again(visit, 403, "There is no such name with this password.")
    site.attempts.succeeded(where)
    return _let_in(visit, account)


def enter(visit: Visit) -> Response:
    """A browser of this host, with the key that the program has printed."""
    site, where = visit.site, address(visit.request)
    if site.entry is None or where != "127.0.0.1" or not site.entry.used(visit.asked("key")):
        visit.refused("enter by key")
        raise AccessError(
            "this address let a browser in once, or is none: start mailhaul serve --browse again"
        )
    name = f"{LOCAL}{user_name(os.geteuid())}"
    visit.became_known(Who(name=name, role="operator", where=where))
    visit.looks("enter by key", on=name)
    response = visit.go("/")
    session = site.sessions.begin(name, site.sessions.incarnation)
    set_session(visit.request, response, site.sessions.cookie(session))
    return response


def log_out(visit: Visit) -> Response:
    """End the session, for whoever has its cookie."""
    session = current_session(visit.site, visit.request)
    if session is not None:
        with visit.act("log out"):
            visit.site.sessions.end(session)
        visit.site.keys.forget(visit.who)
    response = visit.go(LOG_IN)
    response.delete_cookie(
        cookie_name(visit.request), secure=is_encrypted(visit.request), httponly=True, samesite="strict"
    )
    return response


def _let_in(visit: Visit, account: Account) -> Response:
    sessions, devices = visit.site.sessions, visit.site.devices
    visit.became_known(who_of(account, address(visit.request)))
    visit.looks("log in", on=account.name)
    response = visit.go(way_on(visit.form.get("to")))
    set_session(visit.request, response, sessions.cookie(sessions.begin(account.name, account.mark)))
    set_device(visit.request, response, devices.cookie(account))
    return response


def _again(visit: Visit, status: int, problem: str) -> Response:
    return visit.page(
        "log_in.html", status=status, to=visit.form.get("to"), name=visit.form.get("name"), problem=problem
    )


def way_on(to: str) -> str:
    """A path of this site, whatever was asked for."""
    return to if to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable() else "/"


ROUTES = (
    Page(path=LOG_IN, shows=form, allows=None),
    Page(path=LOG_IN, shows=log_in, allows=None, method="POST"),
    Page(path="/enter", shows=enter, allows=None),
    Page(path="/log-out", shows=log_out, allows=EVERYBODY, method="POST"),
)
