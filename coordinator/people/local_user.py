"""Who runs a command on this host."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from .audit import Act

_LOGIN = Path("/proc/self/loginuid")
_NOBODY_LOGGED_IN = 2**32 - 1


def user_name(uid: int) -> str:
    """The name of a user of this host; the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def logged_in_as() -> str:
    """Whoever logged in, also where they have become root since (``sudo``); empty where nobody did, as in a
    service."""
    try:
        uid = int(_LOGIN.read_text())
    except (OSError, ValueError):
        return ""
    return "" if uid == _NOBODY_LOGGED_IN else user_name(uid)


def command_act(
    what: str, when: datetime, *, on: str = "", why: str = "", facts: Mapping[str, object] | None = None
) -> Act:
    """An act of whoever runs this command, for the audit log."""
    user, login = user_name(os.geteuid()), logged_in_as()
    others = {"logged_in_as": login} if login not in ("", user) else {}
    return Act(
        when=when,
        who=f"cli:{user}",
        role="operator",
        where="this host",
        what=what,
        on=on,
        why=why,
        facts={**(facts or {}), **others},
    )
