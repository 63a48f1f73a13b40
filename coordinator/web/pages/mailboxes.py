"""*Mailboxes*: a user is searched; a mailbox through time, its folders and messages at a moment; finding."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from urllib.parse import urlencode

from starlette.responses import Response

from ....groups.paths import LogicalPath
from ....proto.errors import UsageError
from ....proto.records import RunId
from ....proto.structs import Record
from ...browsing.chronicle import Entry
from ...browsing.gone import GoneFolders
from ...browsing.listing import MessagePage
from ...browsing.search import Query
from ...browsing.view import Findings, MailboxView, ShownFolder
from ...catalog import Catalog
from ...clock import RUN_ID
from ...history import KnownMailbox
from ..mailbox_visits import (
    ReasonWanted,
    entered,
    groups_of,
    path_of,
    reason_given,
    refuse_others,
    whose,
)
from ..routes import EVERYBODY, Page, Resource
from ..timeline_bars import bars_of
from ..visits import Visit

MOST_USERS = 50
MOST_MESSAGES = 50
MOST_FOUND = 200
_MOST_BARS = 90
_MOST_VERSIONS = 40
_MOST_SECONDS = 2.0
_MOST_SECONDS_TO_FIND = 5.0

_FIELDS = ("sender", "recipients", "subject", "attachment", "message_id", "since", "until")

LOOK = "look into mailbox"
LIST = "list messages"
FIND = "find messages"


class Users(Record, kw_only=True):
    """The mailboxes that match; ``more`` says that there are others."""

    mailboxes: tuple[KnownMailbox, ...]
    more: bool


class MailboxState(Record, kw_only=True):
    """A mailbox at a moment, what it had at others and has not any more, and its history."""

    path: str
    group: str
    at: RunId
    newest: RunId
    folders: tuple[ShownFolder, ...]
    gone: GoneFolders
    history: tuple[Entry, ...]


class UsersAsked(Record, kw_only=True):
    """A part of a user's name."""

    text: str


class MailboxAsked(Record, kw_only=True):
    """A mailbox or folder by its path, ``at`` a moment (a run id; empty: the newest at which it is there)."""

    path: str
    reason: str
    at: str = ""
    skip: int = 0


class FindAsked(Record, kw_only=True):
    """What messages of a mailbox or folder are to be like: texts as parts of the fields, dates as
    ``2026-11-30``. ``deleted``: only those that are not there any more. ``before`` goes on with a search
    whose time was over."""

    path: str
    reason: str
    sender: str = ""
    recipients: str = ""
    subject: str = ""
    attachment: str = ""
    message_id: str = ""
    since: str = ""
    until: str = ""
    deleted: bool = False
    before: str = ""


# What there is, for people and programs alike


def users(visit: Visit, text: str) -> Users:
    """Those whose names hold a text."""
    text = text.strip()
    if not text:
        return Users(mailboxes=(), more=False)
    with Catalog.open(visit.site.staging) as catalog:
        found = catalog.users_like(text[:200], MOST_USERS + 1, groups_of(visit.who))
    return Users(mailboxes=tuple(found[:MOST_USERS]), more=len(found) > MOST_USERS)


def state(visit: Visit, view: MailboxView, at: str) -> MailboxState:
    """A mailbox at a moment."""
    run = view.moment(at)
    clock = visit.site.clock
    end = clock.monotonic() + _MOST_SECONDS
    return MailboxState(
        path=str(view.whose),
        group=view.group,
        at=run,
        newest=view.newest,
        folders=tuple(view.folders(run)),
        gone=view.gone(lambda read: read < _MOST_VERSIONS and clock.monotonic() < end),
        history=tuple(view.history()),
    )


def messages(view: MailboxView, path: LogicalPath, at: str, skip: int) -> MessagePage:
    """Messages of a folder."""
    if path.folder is None:
        raise UsageError(f"{path} is no folder", path=str(path))
    return view.messages(path, view.moment(at), max(0, skip), MOST_MESSAGES)


def found(visit: Visit, view: MailboxView, asked: FindAsked) -> Findings:
    """What matches, as far as there is time to look."""
    if asked.before and not RUN_ID.fullmatch(asked.before):
        raise UsageError(f"{asked.before!r} is no run id")
    clock = visit.site.clock
    end = clock.monotonic() + _MOST_SECONDS_TO_FIND
    query = Query(
        sender=asked.sender.strip(),
        recipients=asked.recipients.strip(),
        subject=asked.subject.strip(),
        message_id=asked.message_id.strip(),
        attachments=asked.attachment.strip(),
        since=_seconds(asked.since, time.min),
        until=_seconds(asked.until, time.max),
    )
    return view.find(
        path_of(asked.path),
        query,
        MOST_FOUND,
        deleted=asked.deleted,
        before=RunId(asked.before) if asked.before else None,
        goes_on=lambda: clock.monotonic() < end,
    )


def _seconds(day: str, at: time) -> float | None:
    if not day.strip():
        return None
    try:
        return datetime.combine(date.fromisoformat(day.strip()), at, UTC).timestamp()
    except ValueError:
        raise UsageError(f"{day!r} is no date such as 2026-11-30") from None


# Pages


def search(visit: Visit) -> Response:
    """The search for a user, and what was found."""
    text = visit.asked("text")
    result = users(visit, text)
    rows = []
    for known_mailbox in result.mailboxes:
        path = LogicalPath(known_mailbox.partition, "user", known_mailbox.user)
        rows.append((known_mailbox, str(path), reason_given(visit, path)))
    return visit.page("mailboxes.html", text=text, rows=rows, more=result.more)


def look(visit: Visit) -> Response:
    """Somebody says why they look into a mailbox, and does."""
    path = path_of(visit.form.get("path"))
    refuse_others(visit, path, LOOK)
    who = visit.who
    now = visit.site.clock.monotonic()
    visit.site.reasons.give(who.session, who.name, str(whose(path)), visit.reason[:500], now)
    to = {"path": str(whose(path)), "at": visit.form.get("at")}
    return visit.go("/mailboxes/mailbox?" + urlencode({name: value for name, value in to.items() if value}))


def mailbox(visit: Visit) -> Response:
    """A mailbox through time, and at a moment."""
    path = path_of(visit.asked("path"))
    try:
        with entered(visit, whose(path), LOOK) as view:
            shown = state(visit, view, visit.asked("at"))
            began = view.began
    except ReasonWanted:
        return wanted(visit, path)
    return visit.page(
        "mailbox.html", mailbox=shown, user=path.user, drawn=bars_of(shown.history, _MOST_BARS), began=began
    )


def folder(visit: Visit) -> Response:
    """The messages of a folder at a moment."""
    path = path_of(visit.asked("path"))
    try:
        with entered(visit, path, LIST) as view:
            at = view.moment(visit.asked("at"))
            shown = messages(view, path, at, _number(visit.asked("skip")))
            moment, newest = view.began(at), view.newest
    except ReasonWanted:
        return wanted(visit, path)
    return visit.page(
        "folder.html", path_shown=str(path), whose=str(whose(path)), name=path.folder, user=path.user,
        shown=shown, at=at, moment=moment, newest=newest,
    )  # fmt: skip


def find(visit: Visit) -> Response:
    """Finding messages of a mailbox, at any moment."""
    path = path_of(visit.asked("path"))
    asked = FindAsked(
        path=str(path),
        reason="",
        deleted=visit.asked("deleted") == "yes",
        **{name: visit.asked(name) for name in (*_FIELDS, "before")},
    )
    is_asked = visit.asked("go") == "yes"
    result: Findings | None = None
    further = ""
    try:
        with entered(visit, path, FIND) as view:
            if is_asked:
                result = found(visit, view, asked)
            newest = view.newest
    except ReasonWanted:
        return wanted(visit, path)
    if result is not None and result.before is not None:
        words = {name: visit.asked(name) for name in ("path", "go", "deleted", *_FIELDS) if visit.asked(name)}
        further = "/mailboxes/find?" + urlencode({**words, "before": result.before})
    return visit.page(
        "find.html", path_shown=str(path), whose=str(whose(path)), user=path.user, asked=asked, result=result,
        newest=newest, further=further,
    )  # fmt: skip


def wanted(visit: Visit, path: LogicalPath) -> Response:
    """The question why somebody looks into a mailbox, where a page of it would be."""
    return visit.page("reason.html", path_shown=str(path), user=path.user, at=visit.asked("at"))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


# For programs


def _users(visit: Visit) -> Users:
    return users(visit, visit.query.text)


def _state(visit: Visit) -> MailboxState:
    asked: MailboxAsked = visit.query
    with entered(visit, whose(path_of(asked.path)), LOOK) as view:
        return state(visit, view, asked.at)


def _messages(visit: Visit) -> MessagePage:
    asked: MailboxAsked = visit.query
    path = path_of(asked.path)
    with entered(visit, path, LIST) as view:
        return messages(view, path, asked.at, asked.skip)


def _found(visit: Visit) -> Findings:
    asked: FindAsked = visit.query
    with entered(visit, path_of(asked.path), FIND) as view:
        return found(visit, view, asked)


ROUTES = (
    Page(path="/mailboxes", shows=search, allows=EVERYBODY, menu="Mailboxes"),
    Page(path="/mailboxes/look", shows=look, allows=EVERYBODY, method="POST"),
    Page(path="/mailboxes/mailbox", shows=mailbox, allows=EVERYBODY),
    Page(path="/mailboxes/folder", shows=folder, allows=EVERYBODY),
    Page(path="/mailboxes/find", shows=find, allows=EVERYBODY),
    Resource(
        path="/mailboxes", answers=_users, allows=EVERYBODY, query=UsersAsked, answer=Users,
        summary="Mailboxes by a part of the user's name",
    ),
    Resource(
        path="/mailboxes/mailbox", answers=_state, allows=EVERYBODY, query=MailboxAsked, answer=MailboxState,
        summary="A mailbox at a moment, and through time",
    ),
    Resource(
        path="/mailboxes/messages", answers=_messages, allows=EVERYBODY, query=MailboxAsked,
        answer=MessagePage, summary="Messages of a folder at a moment, the newest first",
    ),
    Resource(
        path="/mailboxes/find", answers=_found, allows=EVERYBODY, query=FindAsked, answer=Findings,
        summary="Messages of a mailbox that match, at any kept moment",
    ),
)  # fmt: skip
