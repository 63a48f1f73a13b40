"""How long a server is waited for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from ...proto.structs import Record


class Patience(Record, kw_only=True):
    """``silence_seconds`` is how long a connection may stand still, whatever is sent over it: no command has
    a time by which it must end. What may pass is tried again ``attempts`` times, after ``first_wait`` seconds
    and then twice that, and so on, but ``longest_wait`` at most; a wait that the server suggests is kept.
    """

    connect_seconds: float = 30.0
    silence_seconds: float = 120.0
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 900.0
    sleep: Callable[[float], None] = time.sleep

    def waits(self) -> Iterator[Callable[[float], None]]:
        """For each further attempt a call that waits for it; it takes what the server has suggested."""
        for number in range(self.attempts):
            # Not all workers at the same moment.
            usual = self.first_wait * 2**number * random.uniform(0.8, 1.2)  # noqa: S311 (no secret)

            def wait(suggested: float = 0.0, usual: float = usual) -> None:
                self.sleep(min(max(suggested, usual), self.longest_wait))

            yield wait
