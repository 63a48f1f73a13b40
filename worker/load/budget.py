"""The budget of one worker: its share of what the workers on its host may read and write together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ...proto.structs import Record
from .breath import Breath, Shares
from .limits import LoadLimits

BATCH_SECONDS = 0.05
"""A worker books allowances for so much time at once: 20 bookings a second on a busy host, however many
messages those are, and however many workers."""

RAMP_FLOOR = 0.1
"""The share of the allowances that there is at the beginning of a ramp."""

_BREATH_BYTES = 1 << 20
_SECOND_NS = 1_000_000_000
_BYTES, _MESSAGES = 0, 1


class Bookings(Protocol):
    """What a budget needs of a ``Ledger``."""

    def book(self, allowance: int, length_ns: int) -> int:
        """See ``Ledger.book``."""


class Ramp(Record):
    """What share of the allowances there is: all of it ``seconds`` after it began (by the clock, in
    nanoseconds), before that less, down to RAMP_FLOOR."""

    begun_ns: int = 0
    seconds: float = 0.0

    def share(self, now_ns: int) -> float:
        """The share at a moment."""
        gone = (now_ns - self.begun_ns) / _SECOND_NS
        if gone >= self.seconds:
            return 1.0
        return RAMP_FLOOR + (1 - RAMP_FLOOR) * max(0.0, gone) / self.seconds


NO_RAMP = Ramp()
"""All of the allowances from the first moment on."""


class Budget:
    """Lets its worker go on as fast as the limits allow, and the share of its host; what is not limited costs
    nothing. ``ledger`` may be None where no rates are."""

    def __init__(
        self,
        limits: LoadLimits,
        ledger: Bookings | None,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
        ramp: Ramp = NO_RAMP,
        shares: Shares | None = None,
    ) -> None:
        breath = Breath(shares, clock, sleep) if shares else None

        def extent(now_ns: int) -> float:
            return ramp.share(now_ns) * (shares.at(now_ns) if shares else 1.0)

        def allowance(number: int, per_second: int) -> _Allowance | None:
            if not per_second or ledger is None:
                return None
            return _Allowance(number, per_second, ledger, clock, sleep, extent, breath)

        self._bytes = allowance(_BYTES, limits.bytes_per_second)
        self._messages = allowance(_MESSAGES, limits.messages_per_second)
        self._breath = breath
        self.piece_bytes = self._bytes.batch if self._bytes else _BREATH_BYTES if breath else 0
        """Read or write no more than this before it is spent; 0 for as much as you like."""
        self.small_bytes = 0 if self._bytes or not breath else _BREATH_BYTES
        """The bytes of messages up to this size need not be spent."""

    def spend_message(self) -> None:
        """Wait until one more message may be opened. Raises BackupError."""
        if self._breath:
            self._breath.take()
        if self._messages:
            self._messages.spend(1)

    def spend_bytes(self, count: int) -> None:
        """Wait until so many bytes may have been read or written. Raises BackupError."""
        if self._breath:
            self._breath.take()
        if self._bytes:
            self._bytes.spend(count)

    def rest(self) -> None:
        """Wait as long as the share of the host asks for after what was done: to be called after work that is
        neither a message nor bytes. Raises BackupError."""
        if self._breath:
            self._breath.take()


class _Allowance:
    """So many a second, booked in batches and given out from these. ``extent`` says what share of them there
    is at a moment."""

    def __init__(
        self,
        number: int,
        per_second: int,
        ledger: Bookings,
        clock: Callable[[], int],
        sleep: Callable[[float], None],
        extent: Callable[[int], float],
        breath: Breath | None,
    ) -> None:
        self.batch = max(1, int(per_second * BATCH_SECONDS))
        self._batch_ns = self.batch * _SECOND_NS // per_second
        self._number = number
        self._ledger = ledger
        self._clock = clock
        self._sleep = sleep
        self._extent = extent
        self._breath = breath
        self._left = 0

    def spend(self, count: int) -> None:
        # A batch at a time, also for what is larger than that: others get their turn in between.
        while count > self._left:
            count -= self._left
            self._left = 0
            length_ns = round(self._batch_ns / self._extent(self._clock()))
            self._wait_until(self._ledger.book(self._number, length_ns))
            self._left = self.batch
        self._left -= count

    def _wait_until(self, moment: int) -> None:
        wait_ns = moment - self._clock()
        if wait_ns > 0:
            self._sleep(wait_ns / _SECOND_NS)
            if self._breath:
                self._breath.did_wait(wait_ns)
