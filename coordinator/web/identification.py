"""Who asks: by the user at the other end of the Unix socket, a proxy's word, a session, or a token."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...proto.errors import AccessError
from ...proto.structs import replace
from ..people.accounts import Account
from ..people.devices import GOOD_SECONDS
from ..people.local_user import user_name
from ..people.roles import Who
from ..people.sessions import Session
from .site import Site

PEER = "uid:"
"""How the address of whoever comes over the Unix socket begins; that of nobody else does."""

_RENEWED_AFTER_SECONDS = 60.0

LOCAL = "local:"
"""How the names of users of this host begin: no account has such a name."""


def is_encrypted(request: Request) -> bool:
    """Whether the request came over TLS."""
    return request.url.scheme == "https"


def cookie_name(request: Request) -> str:
    """What the cookie of a session is called: over TLS one that no other host can set."""
    return "__Host-mailhaul" if is_encrypted(request) else "mailhaul"


def device_cookie_name(request: Request) -> str:
    """The same for the cookie that says who has logged in in this browser before."""
    return f"{cookie_name(request)}-device"


def address(request: Request) -> str:
    """Where a request comes from, as it stands in the audit log."""
    host = request.client.host if request.client else ""
    return f"unix:{user_name(int(host[len(PEER) :]))}" if host.startswith(PEER) else host


def identified(site: Site, request: Request) -> Who | None:
    """Who asks, or None for somebody who has to log in. Raises AccessError for who is not let in at all."""
    where = address(request)
    proxy = site.ways.proxy
    if proxy is not None and where in proxy.peers:
        return _named_by_proxy(site, request.headers.getlist(proxy.header), where)
    if where.startswith("unix:"):
        uid = int(request.client.host[len(PEER) :]) if request.client else -1
        if uid not in site.ways.owners:
            raise AccessError(f"{where} is not let in here")
        return Who(name=f"{LOCAL}{user_name(uid)}", role="operator", where=where, session=f"uid {uid}")
    if not is_encrypted(request) and _port(request) != site.ways.loopback_port:
        raise AccessError("over the network there is TLS, or the proxy")
    if (token := _bearer(request)) is not None:
        account = site.accounts.of_token(token)
        if account is None:
            raise AccessError("the token is not valid")
        return replace(who_of(account, where), session="token")
    session = current_session(site, request)
    if session is None:
        return None
    if session.name.startswith(LOCAL):
        return Who(name=session.name, role="operator", where=where, session=session.id)
    account = site.accounts.find(session.name)
    return None if account is None else replace(who_of(account, where), session=session.id)


def current_session(site: Site, request: Request) -> Session | None:
    """The session of a request, as long as nothing was changed about whose it is."""
    session = site.sessions.read(request.cookies.get(cookie_name(request), ""))
    if session is None or session.name.startswith(LOCAL):
        return session if session and session.mark == site.sessions.incarnation else None
    account = site.accounts.find(session.name)
    return session if account is not None and account.mark == session.mark else None


def set_session(request: Request, response: Response, cookie: str) -> None:
    """Give the browser the cookie of a session."""
    _set_cookie(request, response, cookie_name(request), cookie, None)


def set_device(request: Request, response: Response, cookie: str) -> None:
    """Give the browser the cookie by which it is known."""
    _set_cookie(request, response, device_cookie_name(request), cookie, round(GOOD_SECONDS))


def _set_cookie(
    request: Request, response: Response, name: str, cookie: str, lasts_seconds: int | None
) -> None:
    """Without a time it lasts until the browser ends."""
    response.set_cookie(
        name,
        cookie,
        max_age=lasts_seconds,
        secure=is_encrypted(request),
        httponly=True,
        samesite="strict",
        path="/",
    )


def renew_session(site: Site, request: Request, response: Response) -> None:
    """A session that is used goes on, up to its longest time."""
    session = current_session(site, request)
    if session is None or "set-cookie" in response.headers:
        return
    if site.clock.now() - session.used > _RENEWED_AFTER_SECONDS:
        set_session(request, response, site.sessions.cookie(session))


def _port(request: Request) -> int:
    """The port at which a request came in; never the one that it was sent to by its own word."""
    server = request.scope.get("server")
    return int(server[1] or -1) if server else -1


def _named_by_proxy(site: Site, names: list[str], where: str) -> Who:
    if len(names) != 1 or not names[0]:
        raise AccessError("the proxy does not say who it is")
    account = site.accounts.find(names[0])
    if account is None:
        raise AccessError("there is no account of this name; an operator makes it: mailhaul users add")
    return replace(who_of(account, where), session=f"proxy {account.name}")


def who_of(account: Account, where: str) -> Who:
    """Somebody with an account, at an address."""
    return Who(name=account.name, role=account.role, groups=frozenset(account.groups), where=where)


def _bearer(request: Request) -> str | None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None
