"""Values as people read them, on a terminal and on a page: sizes, times, numbers, names as text."""

from __future__ import annotations

from datetime import UTC, datetime

from ..groups.paths import printable


def size(count: int) -> str:
    """``3.1 MB``: powers of 1000, as in rates."""
    if count < 0:
        return "?"
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:,.1f} PB"


def number(count: int) -> str:
    """``42,462``; a negative one is not known."""
    return "?" if count < 0 else f"{count:,}"


def milliseconds(seconds: float) -> str:
    """A time that is short: ``150 ms``."""
    return f"{number(round(seconds * 1000))} ms"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3:07``, ``1:02:03``; whole seconds stay whole."""
    if seconds < 9.95 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(when: datetime | None) -> str:
    """A time in UTC, to the second, in a form that ``--at`` reads."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else "-"


def counted(count: int, one: str, many: str = "") -> str:
    """``1 message``, ``2 messages``."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def name(text: str) -> str:
    """A user, folder or group as in a logical path, but for its slashes."""
    return printable(text.encode("utf-8", "surrogateescape"))
