"""How work goes on, told on stderr: bars on a terminal (``bars``), else a plain line now and then.

``Tally`` adds up; a ``Display`` shows it. Work is known by its label: a unit of a backup, a task of a
restore, an archive that is checked.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

import click

from ...proto.ports import Clock, ProgressSink, Task
from ...proto.records import Progress
from ...proto.structs import Mutable, Record
from ..dispatch.engine import Engine, Outcome
from . import output
from .program import Invocation

LINE_SECONDS = 10.0
"""A plain line is printed about this often."""

_RATE_SECONDS = 60.0
"""Rates, and the time that the rest takes, are those of the last minute."""

T = TypeVar("T", bound=Task)
R = TypeVar("R")


class Amount(Record):
    """Messages and their bytes."""

    messages: int = 0
    size_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.messages + other.messages, self.size_bytes + other.size_bytes)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.messages - other.messages, self.size_bytes - other.size_bytes)


class Meter:
    """Rates over the last seconds, from totals that are told now and then."""

    def __init__(self, now: float, total: Amount | None = None) -> None:
        self._samples = deque([(now, total or Amount())])

    def tell(self, now: float, total: Amount) -> None:
        """So much is done by now."""
        self._samples.append((now, total))
        while len(self._samples) > 2 and self._samples[1][0] < now - _RATE_SECONDS:
            self._samples.popleft()

    @property
    def now(self) -> float:
        """When it was told last."""
        return self._samples[-1][0]

    def rates(self) -> tuple[float, float]:
        """Messages and bytes in a second."""
        (began, before), (now, after) = self._samples[0], self._samples[-1]
        seconds = max(now - began, 0.001)
        done = after - before
        return max(done.messages, 0) / seconds, max(done.size_bytes, 0) / seconds


class Work(Mutable):
    """One work, or all as one: what is expected of it, and what is done."""

    expected: Amount
    meter: Meter
    done: Amount = Amount()


class Tally:
    """What is expected, and what is done of it: of each work that goes on, and in all."""

    def __init__(self, expected: Mapping[str, Amount], now: float) -> None:
        self._waiting = dict(expected)
        self._going: dict[str, Work] = {}
        self._ended = Amount()
        self._meter = Meter(now)
        self._began = now
        self.expected = sum(expected.values(), Amount())

    def tell(self, label: str, done: Amount, now: float) -> Work:
        """A work has come so far; one that is tried again begins anew."""
        work = self._going.get(label)
        if work is None:
            # When it began is not known, so its rates are those since now.
            work = self._going[label] = Work(self._waiting.get(label, Amount()), Meter(now, done))
        work.done = done
        work.meter.tell(now, done)
        self._meter.tell(now, self.done)
        return work

    def end(self, label: str, done: Amount, now: float) -> None:
        """A work has ended with so much; what was expected of it is corrected to that."""
        self._going.pop(label, None)
        self._ended += done
        self.expected += done - self._waiting.pop(label, Amount())
        self._meter.tell(now, self.done)

    @property
    def going(self) -> Mapping[str, Work]:
        """The works that go on, by their labels."""
        return self._going

    @property
    def done(self) -> Amount:
        """What is done in all."""
        return sum((work.done for work in self._going.values()), self._ended)

    @property
    def seconds(self) -> float:
        """The time from the beginning to the last that was told."""
        return self._meter.now - self._began

    def overall(self) -> Work:
        """All works as one."""
        return Work(self.expected, self._meter, self.done)


def rates(work: Work) -> str:
    """``45.2 MB/s 1,234 msg/s``"""
    return _rates(*work.meter.rates())


def _rates(messages: float, size_bytes: float) -> str:
    told = f"{size_bytes / 1e6:.1f} MB/s"
    return f"{told} {round(messages):,} msg/s" if messages else told


def left(work: Work) -> str:
    """The time that the rest takes, if it goes on like this; empty where that can't be told."""
    seconds = seconds_left(work)
    return "" if seconds is None else _clock_time(seconds)


def seconds_left(work: Work) -> float | None:
    """The same in seconds; None where that can't be told."""
    _, rate = work.meter.rates()
    rest = work.expected.size_bytes - work.done.size_bytes
    return rest / rate if rate > 0 and rest > 0 else None


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display(Protocol):
    """Shows the course of works. A context manager; ``begin`` may be called once within."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, expected: Mapping[str, Amount]) -> None:
        """These works are to be done, and so much is expected of each."""

    def progress(self, told: Progress) -> None:
        """A ProgressSink."""

    def end(self, label: str, done: Amount) -> None:
        """A work has ended."""

    def begun(self, label: str, host: str) -> None:
        """A work has begun on a host; empty: on this one."""

    def say(self, line: str) -> None:
        """A line that stays."""


class Lines:
    """A plain line every ten seconds or so, and one at the end. None at all if ``quiet``."""

    def __init__(self, clock: Clock, *, quiet: bool = False) -> None:
        self._clock = clock
        self._quiet = quiet
        self._tally = Tally({}, clock.monotonic())
        self._next = clock.monotonic() + LINE_SECONDS

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done, seconds = self._tally.done, self._tally.seconds
        if error is None and self._tally.expected != Amount():
            average = _rates(done.messages / max(seconds, 0.001), done.size_bytes / max(seconds, 0.001))
            self._line(average, f"in {output.duration(seconds)}")

    def begin(self, expected: Mapping[str, Amount]) -> None:
        """See Display."""
        self._tally = Tally(expected, self._clock.monotonic())

    def progress(self, told: Progress) -> None:
        """See Display."""
        now = self._clock.monotonic()
        self._tally.tell(told.unit, Amount(told.messages, told.size_bytes), now)
        if now >= self._next:
            self._next = now + LINE_SECONDS
            overall = self._tally.overall()
            rest = left(overall)
            self._line(rates(overall), f"{rest} left" if rest else "")

    def end(self, label: str, done: Amount) -> None:
        """See Display."""
        self._tally.end(label, done, self._clock.monotonic())

    def begun(self, label: str, host: str) -> None:
        """See Display. Not shown."""

    def say(self, line: str) -> None:
        """See Display."""
        output.note(line)

    def _line(self, *more: str) -> None:
        if self._quiet:
            return
        done, expected = self._tally.done, self._tally.expected
        of = f"{output.size(done.size_bytes)} of {output.size(expected.size_bytes)}"
        messages = f"{output.number(done.messages)} of {output.counted(expected.messages, 'message')}"
        told = [of, messages if expected.messages else "", *more]
        output.note(", ".join(one for one in told if one))


def make_display(clock: Clock, *, as_json: bool) -> Display:
    """That of the operation which is carried out, if one is; else bars where stderr is a terminal; else
    lines, or with --json nothing."""
    context = click.get_current_context(silent=True)
    invocation = context and context.find_object(Invocation)
    if invocation and invocation.operation:
        return invocation.operation.display
    if sys.stderr.isatty():
        from . import bars  # a tenth of the start of a backup, where nobody looks

        return bars.on_stderr(clock)
    return Lines(clock, quiet=as_json)


def watched(
    engine: Engine, display: Display, ended: Callable[[Outcome[Any, Any]], tuple[str, Amount]]
) -> Engine:
    """An engine whose outcomes the display is told: ``ended`` gives the label and what was done."""

    def run(
        function: Callable[[Any, ProgressSink], R], tasks: Sequence[T], on_progress: ProgressSink
    ) -> Iterator[Outcome[T, R]]:
        for outcome in engine(function, tasks, on_progress):
            display.end(*ended(outcome))
            yield outcome

    return run
