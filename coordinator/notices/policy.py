"""Whether something is said now: pure rules, so that no fault becomes a storm, and none goes unheard.

A new cause is said at once, and is said again daily while it lasts and nobody has acknowledged it; that it is
over is said once. What comes back soon after it was over is the same matter that flutters: it is said again
after a pause that doubles each time, from an hour up to the daily one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ...proto.structs import replace
from .records import PASSING, Kind, Notice, Saying, Standing

DAILY = timedelta(hours=23)
"""So long after something was said it is said again: less than a day, as nights differ by minutes."""

FIRST_PAUSE = timedelta(hours=1)

CLOCK_SET_BACK = timedelta(hours=1)
"""A time that lies further ahead than this was written by a clock that was wrong."""

Decision = tuple[Standing | None, Saying | None]
"""What a cause has come to, and what is to be said of it now."""


def raised(standing: Standing | None, notice: Notice, now: datetime) -> Decision:
    """Somebody has found that it is so."""
    if standing is None:
        return _opened(notice, now)
    if notice.event in PASSING:
        return standing, None
    if standing.over is None:
        return replace(standing, notice=notice, last=now, times=standing.times + 1), None
    if _passed(standing.over, DAILY, now):
        return _opened(notice, now)
    back = replace(
        standing,
        notice=notice,
        last=now,
        times=standing.times + 1,
        over=None,
        acknowledged=None,
        acknowledged_by="",
    )
    return reminded(back, now)


def reminded(standing: Standing, now: datetime) -> Decision:
    """Some time has passed."""
    if standing.over is not None or standing.acknowledged is not None:
        return standing, None
    wait = _pause(standing.returns) if standing.heard == "over" else DAILY
    if standing.said is not None and not _passed(standing.said, wait, now):
        return standing, None
    came_back = standing.heard == "over"
    said = replace(standing, said=now, heard="so", returns=standing.returns + came_back)
    return said, _saying("again", said, now)


def over(standing: Standing | None, now: datetime) -> Decision:
    """It is not so any more. Repeatable."""
    if standing is None or standing.over is not None:
        return standing, None
    ended = replace(standing, over=now)
    if standing.heard != "so":
        return ended, None  # it came back and went again, and nobody has heard of that
    ended = replace(ended, heard="over")
    return ended, _saying("over", ended, now)


def acknowledged(standing: Standing, who: str, now: datetime) -> Standing:
    """Somebody knows: nothing more is said but that it is over."""
    if standing.over is not None or standing.acknowledged is not None:
        return standing
    return replace(standing, acknowledged=now, acknowledged_by=who)


def _opened(notice: Notice, now: datetime) -> Decision:
    passing = notice.event in PASSING
    standing = Standing(
        notice=notice, first=now, last=now, said=now, heard="so", over=now if passing else None
    )
    return standing, _saying("new", standing, now)


def _saying(kind: Kind, standing: Standing, now: datetime) -> Saying:
    return Saying(kind=kind, notice=standing.notice, made=now, first=standing.first, times=standing.times)


def _pause(returns: int) -> timedelta:
    doubled: timedelta = FIRST_PAUSE * 2 ** min(returns, 10)
    return min(DAILY, doubled)


def _passed(since: datetime, wait: timedelta, now: datetime) -> bool:
    return now - since >= wait or since - now > CLOCK_SET_BACK
