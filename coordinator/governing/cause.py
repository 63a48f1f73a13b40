"""Whether it is the work that users wait for: found out by doing now little of it, now more. Pure.

What users wait is compared between times at the floor and times above it, in turns, so that what others do
meanwhile weighs on both. What was seen before says nothing: the work was slowed down *because* users waited.
"""

from __future__ import annotations

import math

from ...proto.structs import Record, replace

HIGH = (False, True, True, False, False, True, True, False)
"""Which of the times in turn have more of the work. Neither side is always the later one."""

TURN_LOOKS = 12
"""Each takes so many looks, of which the first ``SETTLING_LOOKS`` do not count: the work of the time before
is still under way."""

SETTLING_LOOKS = 2

HELPS = math.log(1.1)
"""It helps to give way if users wait a tenth longer where more of the work is done."""

CLEARLY_HELPS = 2 * HELPS
"""If it is so much after half of the times, that is enough."""

_MOST_TARGETS = 4.0
"""What takes longer is taken for this: one look that hangs decides nothing, many do."""


class Trial(Record, kw_only=True):
    """So many ``looks`` were taken; of those that count, the sums of the logarithms by side, and their
    numbers."""

    looks: int = 0
    low: float = 0.0
    lows: int = 0
    high: float = 0.0
    highs: int = 0

    @property
    def is_high(self) -> bool:
        """Whether more of the work is done now."""
        return self.looks < len(HIGH) * TURN_LOOKS and HIGH[self.looks // TURN_LOOKS]

    @property
    def helps(self) -> bool | None:
        """Whether it helps users that the work gives way; None: not known yet."""
        turns, within = divmod(self.looks, TURN_LOOKS)
        if within or turns < len(HIGH) // 2:
            return None
        longer = self.high / self.highs - self.low / self.lows
        if turns == len(HIGH):
            return longer >= HELPS
        return True if longer >= CLEARLY_HELPS and turns == len(HIGH) // 2 else None

    def after(self, targets: float) -> Trial:
        """With one look more, that took so many times the target."""
        seen = replace(self, looks=self.looks + 1)
        if self.looks % TURN_LOOKS < SETTLING_LOOKS:
            return seen
        wait = math.log(min(_MOST_TARGETS, max(1 / _MOST_TARGETS, targets)))
        if self.is_high:
            return replace(seen, high=self.high + wait, highs=self.highs + 1)
        return replace(seen, low=self.low + wait, lows=self.lows + 1)
