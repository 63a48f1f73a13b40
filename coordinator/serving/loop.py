"""The loop of ``mailhaul serve``: duties, each called about once a second, in one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol

from ...proto.ports import Clock
from ..clock import utc

SECONDS = 1.0
"""About so often each duty is called."""


class Duty(Protocol):
    """Something that has to be done now and then while the coordinator stays."""

    def tick(self, now: datetime) -> None:
        """Do what is due by ``now`` (aware, UTC). Must be quick, as all others wait meanwhile; what takes
        long is an operation, or has a thread of its own. An error is reported, and the next tick comes all
        the same."""


Failed = Callable[[Duty, Exception], object]
"""Is called with a duty and the error that its tick has raised."""


class Loop:
    """Calls duties in a thread of its own, as long as the context lasts. What a tick has begun is ended
    before the context is left."""

    def __init__(
        self, duties: Sequence[Duty], clock: Clock, failed: Failed, *, seconds: float = SECONDS
    ) -> None:
        self._duties = tuple(duties)
        self._clock = clock
        self._failed = failed
        self._seconds = seconds
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="duties")

    def __enter__(self) -> Loop:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            for duty in self._duties:
                if self._ending.is_set():
                    return
                try:
                    duty.tick(utc(self._clock.now()))
                except Exception as error:  # the others go on, and so does it at the next tick
                    self._failed(duty, error)
            self._ending.wait(self._seconds)


class Troubles:
    """Reports what duties raise, each error of a duty when it comes and when it is another; not at each tick.

    ``report`` is called with the name of the duty and the error.
    """

    def __init__(self, report: Callable[[str, Exception], object]) -> None:
        self._report = report
        self._last: dict[str, str] = {}

    def __call__(self, duty: Duty, error: Exception) -> None:
        """A ``Failed``."""
        name = type(duty).__name__
        text = f"{type(error).__name__}: {error}"
        if self._last.get(name) != text:
            self._last[name] = text
            self._report(name, error)
