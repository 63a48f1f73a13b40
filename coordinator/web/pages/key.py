"""The private key that somebody hands in for encrypted mail, until their session ends."""

from __future__ import annotations

from starlette.responses import Response

from ....groups.paths import printable
from ....proto.errors import AccessError, UsageError
from ....proto.structs import Record
from ...serving.private_keys import HeldKey
from ..routes import EVERYBODY, Page, Resource
from ..visits import Visit
from .entrance import way_on

HAND_IN = "hand in key"
FORGET = "forget key"

_LONGEST_NAME = 100


class KeyRecipient(Record, kw_only=True):
    """Somebody whom archives are encrypted for."""

    name: str
    id: str


class KeyState(Record, kw_only=True):
    """What opens encrypted mail for somebody: ``handed`` in, in this session, or else ``configured``.
    ``problem`` is why what is configured can't be opened."""

    handed: tuple[KeyRecipient, ...] = ()
    configured: tuple[KeyRecipient, ...] = ()
    problem: str = ""


class KeyAsked(Record, kw_only=True):
    """The content of a file with a private key, and what that needs. ``name`` is that of the file."""

    key: str
    reason: str
    passphrase: str = ""
    name: str = "key"

    def __repr__(self) -> str:
        return "KeyAsked(...)"


class ForgetAsked(Record, kw_only=True):
    """Nothing more is said."""


def state(visit: Visit) -> KeyState:
    """What is at hand."""
    problem, configured = "", None
    try:
        configured = visit.site.keys.configured()
    except AccessError as error:
        problem = error.message
    return KeyState(
        handed=_recipients(visit.site.keys.handed(visit.who)),
        configured=_recipients(configured),
        problem=problem,
    )


def hand_in(visit: Visit, name: str, key: str, passphrase: str) -> None:
    """Keep a key for the session, if it can be opened; both is on record. Raises AccessError, UsageError."""
    why = visit.reason
    if not key.strip():
        raise UsageError("choose the file with the private key, or type what is on the paper")
    called = printable(name[-_LONGEST_NAME:].encode("utf-8")) or "key"
    try:
        opened = visit.site.keys.opened(called, key.encode("utf-8"), passphrase)
    except AccessError as error:
        visit.refused(HAND_IN, on=called, problem=error.message)
        raise UsageError(error.message) from None
    with visit.act(HAND_IN, on=opened.names, why=why):
        visit.site.keys.keep(visit.who, opened)


def forget(visit: Visit) -> None:
    """Nothing of it stays."""
    key = visit.site.keys.handed(visit.who)
    if key is not None:
        with visit.act(FORGET, on=key.names):
            visit.site.keys.forget(visit.who)


def _recipients(key: HeldKey | None) -> tuple[KeyRecipient, ...]:
    return tuple(KeyRecipient(name=name, id=id_.hex()) for id_, name in key.recipients.items()) if key else ()


# Pages


def form(visit: Visit) -> Response:
    """What is at hand, and the form."""
    return visit.page("key.html", key=state(visit), to=way_on(visit.asked("to")), problem="")


def handed_in(visit: Visit) -> Response:
    """The form was sent."""
    sent = visit.form
    typed, file = sent.get("typed"), sent.get("file")
    to = way_on(sent.get("to"))
    try:
        name = "typed" if typed.strip() else sent.get("file_name")
        hand_in(visit, name, typed if typed.strip() else file, sent.get("passphrase"))
    except UsageError as error:
        return visit.page("key.html", status=400, key=state(visit), to=to, problem=error.message)
    return visit.go(to)


def forgotten(visit: Visit) -> Response:
    """The button was used."""
    forget(visit)
    return visit.go("/key")


# For programs


def _handed_in(visit: Visit) -> KeyState:
    asked: KeyAsked = visit.body
    hand_in(visit, asked.name, asked.key, asked.passphrase)
    return state(visit)


def _forgotten(visit: Visit) -> KeyState:
    forget(visit)
    return state(visit)


ROUTES = (
    Page(path="/key", shows=form, allows=EVERYBODY),
    Page(path="/key", shows=handed_in, allows=EVERYBODY, method="POST"),
    Page(path="/key/forget", shows=forgotten, allows=EVERYBODY, method="POST"),
    Resource(
        path="/key", answers=state, allows=EVERYBODY, answer=KeyState,
        summary="What opens encrypted mail for who asks",
    ),
    Resource(
        path="/key", answers=_handed_in, allows=EVERYBODY, method="POST", body=KeyAsked, answer=KeyState,
        summary="Hand in a private key until the session ends, or half an hour without use",
    ),
    Resource(
        path="/key/forget", answers=_forgotten, allows=EVERYBODY, method="POST", body=ForgetAsked,
        answer=KeyState, summary="Forget the private key that was handed in",
    ),
)  # fmt: skip
