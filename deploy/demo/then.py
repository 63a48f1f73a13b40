#!/usr/bin/env python3
"""A command of mailhaul as if it were another time: then.py TIME COMMAND [ARGUMENTS]. For demos: what it does
is done now, what it writes down of the time is that time, which goes on from there."""

from __future__ import annotations

import sys
import time
from datetime import datetime

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main


class Then:
    """A clock that shows another time, and runs."""

    def __init__(self, then: datetime) -> None:
        self._ahead = then.timestamp() - time.time()

    def now(self) -> float:
        """See Clock."""
        return time.time() + self._ahead

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()


if __name__ == "__main__":
    clock = Then(datetime.fromisoformat(sys.argv[1]))
    adapters.clock = lambda: clock
    sys.exit(main(sys.argv[2:]))
