"""The system's clock, and the ids of runs, which are made from it.

Nothing else in the coordinator asks for the time: it is handed down from here.
"""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime, timedelta

from ..proto.records import RunId

RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
"""What a whole run id looks like."""

_STAMP = "%Y%m%dT%H%M%SZ"
_STAMP_LENGTH = len("20261121T031500Z")
_LAST_SERIAL = 0xFFFF


class SystemClock:
    """The port ``Clock``, as this machine keeps time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def utc(seconds: float) -> datetime:
    """A time in seconds since 1970 as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def new_run_id(now: float, after: RunId | None = None) -> RunId:
    """The id of a run that starts now: the time in UTC, and four hex digits, by chance.

    ``after`` is the newest run so far; the new id always sorts behind it, also within the same
    second and where the clock was set back. Then it continues the time and digits of ``after``.
    """
    stamp = utc(now).strftime(_STAMP)
    if after is None or stamp > after[:_STAMP_LENGTH]:
        return RunId(f"{stamp}-{secrets.token_hex(2)}")
    stamp, serial = after[:_STAMP_LENGTH], int(after[_STAMP_LENGTH + 1 :], 16)
    if serial < _LAST_SERIAL:
        return RunId(f"{stamp}-{serial + 1:04x}")
    following = datetime.strptime(stamp, _STAMP) + timedelta(seconds=1)
    return RunId(f"{following.strftime(_STAMP)}-0000")
