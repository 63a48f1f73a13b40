"""*Alarms*: what looked like a loss, what is held for it, and notices that last; operators release and
acknowledge."""

from __future__ import annotations

from typing import cast

from starlette.responses import Response

from ....proto.errors import NotFoundError, UsageError
from ....proto.records import RunId
from ....proto.structs import Record
from ...catalog import Catalog
from ...clock import RUN_ID
from ...holding import known_path, known_run, named
from ...holds import Hold, add_hold, release
from ...notices.raising import acknowledge
from ...notices.records import Standing
from ...overview.alarms import AlarmList, HoldList, alarm_list, hold_list
from ...service.notices import NoticeRecord
from ..routes import OPERATOR, VIEWER, Page, Resource
from ..visits import Visit

_LONGEST = 2000
_MOST_HOLDS = 10_000_000


class AlarmsAsked(Record, kw_only=True):
    """Alarms of runs before this one; without it of the newest."""

    before: str = ""


class HoldsAsked(Record, kw_only=True):
    """Holds whose path, run or reason holds a text, behind so many of them."""

    text: str = ""
    behind: int = 0


class ReleaseAsked(Record, kw_only=True):
    """A path, with all below it, or a run that is not to be held any more, and why."""

    what: str
    reason: str


class HoldAsked(Record, kw_only=True):
    """A path, or a run, that is to be held, and why."""

    what: str
    reason: str


class AcknowledgeAsked(Record, kw_only=True):
    """The cause of a notice that somebody takes care of, and how."""

    cause: str
    reason: str


class Released(Record, kw_only=True):
    """The holds that were taken back."""

    released: tuple[Hold, ...]


class Held(Record, kw_only=True):
    """A hold; whether it was ``added``, or was there already."""

    hold: Hold
    added: bool


class NoticeList(Record, kw_only=True):
    """What lasts, the oldest first."""

    notices: tuple[Standing, ...]


# Data


def alarms(visit: Visit) -> AlarmList:
    """A page of the alarms."""
    return _alarms(visit, cast(AlarmsAsked, visit.query).before)


def holds(visit: Visit) -> HoldList:
    """A page of the holds."""
    asked = cast(HoldsAsked, visit.query)
    return _holds(visit, asked.text, asked.behind)


def notices(visit: Visit) -> NoticeList:
    """The notices that last."""
    return NoticeList(notices=NoticeRecord(visit.site.staging).lasting())


def released(visit: Visit) -> Released:
    """Take holds back."""
    return _release(visit, cast(ReleaseAsked, visit.body).what)


def held(visit: Visit) -> Held:
    """Set a hold."""
    return _hold(visit, cast(HoldAsked, visit.body).what)


def acknowledged(visit: Visit) -> Standing:
    """Somebody takes care of what a notice told."""
    return _acknowledge(visit, cast(AcknowledgeAsked, visit.body).cause)


# Pages


def alarms_page(visit: Visit) -> Response:
    """All of it."""
    sought, behind = visit.asked("held")[:_LONGEST], visit.asked("behind", "0")
    if not behind.isdecimal() or len(behind) > len(str(_MOST_HOLDS)):
        raise UsageError("expected a number of holds")
    return visit.page(
        "alarms.html",
        found=_alarms(visit, visit.asked("before")),
        before=visit.asked("before"),
        holds=_holds(visit, sought, int(behind)),
        sought=sought,
        behind=int(behind),
        notices=notices(visit).notices,
        sought_of=sought_of,
    )


def release_form(visit: Visit) -> Response:
    """After a hold was released on the page."""
    _release(visit, visit.form.get("what"))
    return visit.go("/alarms#holds")


def hold_form(visit: Visit) -> Response:
    """After a hold was set on the page."""
    _hold(visit, visit.form.get("what").strip())
    return visit.go("/alarms#holds")


def acknowledge_form(visit: Visit) -> Response:
    """After a notice was acknowledged on the page."""
    _acknowledge(visit, visit.form.get("cause"))
    return visit.go("/alarms#notices")


# Within


def sought_of(path: str) -> str:
    """What the hold on the mailbox of an alarm is found by: it may be held as one of another group, and
    is as a whole, whatever folder the alarm is about."""
    parts = path.split("/")  # slashes in the name of a user are escaped
    return parts[3] if len(parts) > 3 else path


def _alarms(visit: Visit, before: str) -> AlarmList:
    if before and not RUN_ID.fullmatch(before):
        raise UsageError(f"{before!r} is no run id")
    try:
        with Catalog.open(visit.site.staging) as catalog:
            return alarm_list(catalog, visit.site.staging, RunId(before) if before else None)
    except NotFoundError:  # there is no catalog before the first run
        return AlarmList(runs=())


def _holds(visit: Visit, text: str, behind: int) -> HoldList:
    if not 0 <= behind <= _MOST_HOLDS:
        raise UsageError("expected a number of holds")
    return hold_list(visit.site.staging, text, behind)


def _release(visit: Visit, what: str) -> Released:
    meant = named(what)
    with visit.act("release hold", on=str(meant), why=visit.reason):
        gone = release(visit.site.staging, meant)
    return Released(released=gone)


def _hold(visit: Visit, what: str) -> Held:
    site, reason = visit.site, visit.reason
    if what.startswith("/"):
        hold = Hold(path=str(known_path(site.staging, what)), reason=reason, since=site.now())
    else:
        hold = Hold(run=known_run(site.staging, what), reason=reason, since=site.now())
    with visit.act("hold", on=hold.what, why=reason):
        added = add_hold(site.staging, hold)
    return Held(hold=hold, added=added)


def _acknowledge(visit: Visit, cause: str) -> Standing:
    with visit.act("acknowledge notice", on=cause, why=visit.reason):
        return acknowledge(visit.site.staging, cause, visit.who.name, visit.site.now())


ROUTES = (
    Page(path="/alarms", shows=alarms_page, allows=VIEWER, menu="Alarms"),
    Page(path="/alarms/release", shows=release_form, allows=OPERATOR, method="POST"),
    Page(path="/alarms/hold", shows=hold_form, allows=OPERATOR, method="POST"),
    Page(path="/alarms/acknowledge", shows=acknowledge_form, allows=OPERATOR, method="POST"),
    Resource(
        path="/alarms",
        answers=alarms,
        allows=VIEWER,
        summary="Alarms, by the runs that raised them",
        query=AlarmsAsked,
        answer=AlarmList,
    ),
    Resource(
        path="/holds",
        answers=holds,
        allows=VIEWER,
        summary="Holds, in pages",
        query=HoldsAsked,
        answer=HoldList,
    ),
    Resource(
        path="/holds",
        answers=held,
        allows=OPERATOR,
        summary="Hold a path or a run",
        method="POST",
        body=HoldAsked,
        answer=Held,
    ),
    Resource(
        path="/holds/release",
        answers=released,
        allows=OPERATOR,
        summary="Release holds",
        method="POST",
        body=ReleaseAsked,
        answer=Released,
    ),
    Resource(path="/notices", answers=notices, allows=VIEWER, summary="Notices that last", answer=NoticeList),
    Resource(
        path="/notices/acknowledge",
        answers=acknowledged,
        allows=OPERATOR,
        summary="Acknowledge a notice",
        method="POST",
        body=AcknowledgeAsked,
        answer=Standing,
    ),
)
