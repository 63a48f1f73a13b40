"""Times as people write them: ``yesterday``, ``-3d``; and as they read them: in UTC, and by their clock."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from typing import Any

import click

from ...proto.errors import UsageError
from .output import moment

_AGO = re.compile(r"-([0-9]{1,5})([mhdw])")
_AHEAD = re.compile(r"[+]([0-9]{1,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def from_now(text: str, now: datetime) -> datetime | None:
    """The time that a text tells by its distance from ``now``, an aware time in the zone of whoever asks:
    ``-3d`` (also ``m``, ``h``, ``w``) exactly, ``today`` and ``yesterday`` the last moment of that day. None
    for any other text."""
    if found := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    if text in ("today", "yesterday"):
        midnight = now.replace(hour=23, minute=59, second=59, microsecond=999_999)
        return midnight - timedelta(days=1) if text == "yesterday" else midnight
    return None


def ahead_of(now: datetime, text: str, zone: tzinfo) -> datetime:
    """The moment that a text tells by its distance from ``now`` (``+7d``; also ``m``, ``h``, ``w``), or as an
    ISO date (the end of that day) or time; in this zone, unless it says otherwise. Raises UsageError."""
    if found := _AHEAD.fullmatch(text):
        return now + timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r}: expected an ISO date or time, or a time such as +7d") from None
    if len(text) == len("2026-11-30"):
        when += timedelta(days=1, microseconds=-1)
    return when if when.tzinfo else when.replace(tzinfo=zone)


def here() -> datetime:
    """Now, in the zone of this host."""
    from . import adapters  # costs 0.1 s, and few commands are told a time that is counted from now

    return datetime.fromtimestamp(adapters.clock().now()).astimezone()


class MomentType(click.ParamType[str]):
    """A time as the catalog understands it: a run, ``latest``, an ISO date or time; one that is told by its
    distance from now becomes the latter."""

    name = "time"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> str:
        """See ParamType."""
        text = str(value)
        when = from_now(text, here())
        return text if when is None else when.isoformat(timespec="seconds")


MOMENT = MomentType()


def both(when: datetime | None) -> str:
    """A time in UTC, and beside it, where that differs, by the clock of this host: ``2026-11-21T22:04:10Z
    (23:04 CET)``."""
    if when is None:
        return moment(None)
    local = when.astimezone()
    if not local.utcoffset():
        return moment(when)
    other_day = f"{local:%Y-%m-%d} " if local.date() != when.date() else ""
    return f"{moment(when)} ({other_day}{local:%H:%M %Z})"
