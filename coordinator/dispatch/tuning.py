"""How many workers a host has: as many as gain anything, which is found out while they work.

For some seconds it is measured how fast a number of workers is, all of them at work and more to do; then
the same with one more, as long as that one is worth it, or else with one less, as long as the last one was
not. Where a disk, the processors or `[load]` give no more, fewer workers are just as fast, and leave the
memory of the others, and the processors' caches, to the users of the host.

A ``Restraint`` may want less than that: then there are fewer, and nothing is measured meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ...proto.records import Progress
from ...proto.structs import Record
from ..core import Core, Event, Occupancy, WorkersWanted

USUAL = 4
"""With so many workers a host begins of which nothing else is known."""

TRIAL_SECONDS = 10.0
"""How long a number of workers is watched."""

REST_SECONDS = 300.0
"""How long the number that was found stays before others are tried again."""

WORTH = 0.3
"""A worker is worth having that adds this share of what each of the others does."""

MESSAGE_BYTES = 20_000
"""A message costs as much as so many bytes: 90 microseconds, and 4 seconds for a gigabyte, of a processor."""

_UP_THEN_DOWN = (1, -1)

_NOT_FOR_LESS = 0.25
"""Another worker is not started for less than this part of one: the next moment would let it go again."""


class HoldBack(Record):
    """Each worker on this host is to do this share of what it could (``worker.load.share``), says this
    governor."""

    host: str
    governor: str
    share: float


class Restraint(Protocol):
    """Who holds the work on hosts back. All of it must be quick, and must not raise."""

    def level(self, host: str) -> float:
        """The share of what it could do that the work on a host may do now: above 0, and at most 1."""

    def occupied(self, host: str, count: int, busy: int) -> None:
        """``busy`` workers are at work on a host that would have ``count`` if nobody held them back; told
        about once a second. What the level does not take away by fewer workers is to be taken from each."""

    def held_back(self) -> list[HoldBack]:
        """What is to be said to hosts (again); asked for by engines whose workers can't see it otherwise."""


class Free:
    """Nobody holds anything back (a Restraint)."""

    def level(self, _host: str) -> float:
        return 1.0

    def occupied(self, _host: str, _count: int, _busy: int) -> None:
        pass

    def held_back(self) -> list[HoldBack]:
        return []


FREE = Free()


class Tuner:
    """Finds the number of workers for each host of a dispatch: at most ``most``, and ``first`` to begin
    with, as its core has to be told. As long as it is ``held`` there is one. There are fewer where the
    ``restraint`` wants less. ``monotonic`` is the clock, in seconds."""

    def __init__(
        self,
        most: int,
        first: int = USUAL,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        held: bool = False,
        restraint: Restraint = FREE,
    ) -> None:
        self.first, self._most = min(first, most), most
        self.held = held
        self._now = monotonic
        self._restraint = restraint
        self._hosts: dict[str, _Host] = {}
        self._host_of: dict[str, _Host] = {}
        self._done: dict[str, int] = {}  # by the label of a task

    def assigned(self, label: str, host: str) -> None:
        """What the progress of this label tells is done on this host from now on."""
        self._host_of[label] = self._host(host)

    def note(self, progress: Progress) -> None:
        """Count what was done."""
        done = progress.size_bytes + progress.messages * MESSAGE_BYTES
        if (host := self._host_of.get(progress.unit)) is not None:
            # An attempt that begins anew tells less than the one before.
            host.work += max(0, done - self._done.get(progress.unit, 0))
        self._done[progress.unit] = done

    def wanted(self, core: Core) -> list[Event]:
        """The numbers of workers that should change; to be asked for about once a second."""
        now = self._now()
        events: list[Event] = []
        for occupancy in core.occupancy():
            level = self._restraint.level(occupancy.host)
            count = (
                1 if self.held else self._host(occupancy.host).workers(now, occupancy, restrained=level < 1.0)
            )
            self._restraint.occupied(occupancy.host, count, occupancy.busy)
            if not self.held and (wanted := _restrained(count, level, occupancy.most)) != occupancy.most:
                events.append(WorkersWanted(occupancy.host, wanted))
        return events

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            self._hosts[name] = _Host(self.first, self._most)
        return self._hosts[name]


class _Measured(NamedTuple):
    workers: int
    rate: float


class _Host:
    """The search on one host. ``work`` is what was done there so far."""

    def __init__(self, count: int, most: int) -> None:
        self.work = 0
        self._count = count
        self._most = most
        self._begun: tuple[float, int] | None = None  # the trial: since when, and the work done by then
        self._before: _Measured | None = None  # the number that this one is compared with
        self._ways = list(_UP_THEN_DOWN)
        self._rests_until = 0.0

    def workers(self, now: float, seen: Occupancy, *, restrained: bool) -> int:
        if restrained or not seen.waits or seen.busy != self._count or now < self._rests_until:
            self._begun = None
        elif self._begun is None:
            self._begun = now, self.work
        elif now - self._begun[0] >= TRIAL_SECONDS:
            since, work = self._begun
            self._begun = None
            if self.work > work:  # else its tasks do not tell of what they do
                self._conclude(_Measured(self._count, (self.work - work) / (now - since)), now)
        return self._count

    def _conclude(self, found: _Measured, now: float) -> None:
        before = self._before
        if before is not None and not _is_better(found, before):
            self._ways.pop(0)
            found = before
        elif before is not None:
            self._ways = self._ways[:1]  # what it came from is no good: no need to look there
        while self._ways and not 1 <= found.workers + self._ways[0] <= self._most:
            self._ways.pop(0)
        if self._ways:
            self._before, self._count = found, found.workers + self._ways[0]
        else:
            self._before, self._count = None, found.workers
            self._ways = list(_UP_THEN_DOWN)
            self._rests_until = now + REST_SECONDS


def _restrained(count: int, level: float, most: int) -> int:
    """So many of ``count`` workers are enough for this level, where there may be ``most`` by now."""
    work = count * level
    if level < 1.0 and most < work <= most + _NOT_FOR_LESS:
        return most
    return max(1, math.ceil(work))


def _is_better(one: _Measured, other: _Measured) -> bool:
    fewer, more = sorted((one, other))
    is_worth_it = more.rate >= fewer.rate * (1 + WORTH / fewer.workers)
    return one is (more if is_worth_it else fewer)
