"""Time zones by their names, and the one of this host."""

from __future__ import annotations

import os
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from ...proto.errors import ConfigError

_ZONES = "zoneinfo/"
_LOCAL = Path("/etc/localtime")
_NAMED = Path("/etc/timezone")


def zone_named(name: str) -> tzinfo:
    """The zone of an IANA name such as ``Europe/Berlin``; as a text it is that name. Raises ValueError, which
    says what is wrong."""
    if name in ("UTC", "Etc/UTC"):
        return UTC  # also where there is no data
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        if available_timezones():
            raise ValueError("there is no such zone") from None
        raise ValueError("this host has no data of time zones: install the package tzdata") from None


def system_zone(variable: str | None, *, local: Path = _LOCAL, named: Path = _NAMED) -> tzinfo:
    """The zone of this host, by its name: what the environment ``variable`` TZ names, what /etc/localtime
    leads to, or what /etc/timezone says. Without any of them a host keeps UTC. Raises ConfigError for one
    that can't be told by name."""
    name = (variable or "").removeprefix(":") or _of_link(local) or _of_file(named)
    if not name and not local.exists():
        name = "UTC"
    try:
        if name:
            return zone_named(name)
        reason = f"{local} is a copy, which tells no name"
    except ValueError as error:
        reason = f"{name!r}: {error}"
    raise ConfigError(
        f"schedule.zone is missing, and the time zone of this host can't be told ({reason}): expected the "
        "name of a zone such as 'Europe/Berlin'",
        keys=["schedule.zone"],
    )


def _of_link(path: Path) -> str:
    try:
        target = os.readlink(path)
    except OSError:
        return ""
    return target.rpartition(_ZONES)[2] if _ZONES in target else ""


def _of_file(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
