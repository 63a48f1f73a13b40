"""The course of an operation, for those who look on from other processes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType

from ...proto.ports import Clock
from ...proto.records import Progress
from ..clock import utc
from ..serving.files import Said
from ..serving.progress import MOST_WORKS, OperationProgress, WorkProgress
from . import output
from .progress import Amount, Tally, Work, seconds_left


class OperationDisplay:
    """A ``Display``, also of several works one after the other, from which another thread takes the progress.
    What it ``said`` is on stderr, too."""

    def __init__(self, number: int, clock: Clock, said: Said) -> None:
        self._number = number
        self._clock = clock
        self._said = said
        self._lock = threading.Lock()
        self._tally = Tally({}, clock.monotonic())
        self._hosts: dict[str, str] = {}
        self._last: dict[str, Progress] = {}

    def __enter__(self) -> OperationDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def begin(self, expected: Mapping[str, Amount]) -> None:
        """See Display."""
        with self._lock:
            self._tally = Tally(expected, self._clock.monotonic())
            self._hosts, self._last = {}, {}

    def begun(self, label: str, host: str) -> None:
        """See Display."""
        with self._lock:
            self._hosts[label] = host

    def progress(self, told: Progress) -> None:
        """See Display."""
        with self._lock:
            self._last[told.unit] = told
            self._tally.tell(told.unit, Amount(told.messages, told.size_bytes), self._clock.monotonic())

    def end(self, label: str, done: Amount) -> None:
        """See Display."""
        with self._lock:
            self._tally.end(label, done, self._clock.monotonic())
            self._hosts.pop(label, None)
            self._last.pop(label, None)

    def say(self, line: str) -> None:
        """See Display."""
        output.note(line)

    def taken(self) -> OperationProgress:
        """How far it is now."""
        with self._lock:
            overall = self._tally.overall()
            messages, size_bytes = overall.meter.rates()
            going = self._tally.going
            return OperationProgress(
                operation=self._number,
                written=utc(self._clock.now()),
                messages=overall.done.messages,
                size_bytes=overall.done.size_bytes,
                expected_messages=overall.expected.messages,
                expected_bytes=overall.expected.size_bytes,
                messages_per_second=messages,
                bytes_per_second=size_bytes,
                seconds_left=seconds_left(overall),
                works=tuple(self._work(label, going[label]) for label in sorted(going)[:MOST_WORKS]),
                going=len(going),
                lines=tuple(output.shown(line) for line in tuple(self._said.lines)),
            )

    def _work(self, label: str, work: Work) -> WorkProgress:
        last = self._last.get(label)
        return WorkProgress(
            label=output.name(label),
            host=self._hosts.get(label, ""),
            mailbox=output.name(last.mailbox) if last else "",
            waiting=last.waiting if last else "",
            messages=work.done.messages,
            size_bytes=work.done.size_bytes,
            expected_messages=work.expected.messages,
            expected_bytes=work.expected.size_bytes,
        )
