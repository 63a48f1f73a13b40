"""The system's clock, and what the ids of runs look like, which are made from it (``run_ids``).

Nothing else in the coordinator asks for the time: it is handed down from here.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
"""What a whole run id looks like."""


class SystemClock:
    """The port ``Clock``, as this machine keeps time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def utc(seconds: float) -> datetime:
    """A time in seconds since 1970 as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
