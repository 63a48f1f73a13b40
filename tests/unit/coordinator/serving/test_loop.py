"""Duties are called again and again, whatever one of them raises."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from mailhaul.coordinator.clock import SystemClock
from mailhaul.coordinator.serving.loop import Duty, Loop, Troubles
from mailhaul.proto.errors import StagingError


class Counted:
    """A duty that counts its ticks, and raises ``errors`` in turn, None for nothing."""

    def __init__(self, *errors: Exception | None) -> None:
        self.ticks: list[datetime] = []
        self.third = threading.Event()
        self._errors = list(errors)

    def tick(self, now: datetime) -> None:
        self.ticks.append(now)
        if len(self.ticks) == 3:
            self.third.set()
        if self._errors and (error := self._errors.pop(0)):
            raise error


def test_a_duty_that_fails_hinders_no_other() -> None:
    failing, other = Counted(*(ValueError("no") for _ in range(99))), Counted()
    failed: list[tuple[Duty, Exception]] = []
    with Loop((failing, other), SystemClock(), lambda *told: failed.append(told), seconds=0.001):
        assert other.third.wait(30)
        assert failing.third.wait(30)
    assert {type(duty) for duty, _ in failed} == {Counted}
    assert str(failed[0][1]) == "no"
    assert other.ticks[0].tzinfo is UTC


def test_nothing_is_called_after_the_context() -> None:
    duty = Counted()
    with Loop((duty,), SystemClock(), lambda *_: None, seconds=0.001):
        assert duty.third.wait(30)
    count = len(duty.ticks)
    assert threading.active_count() == 1 or all(thread.name != "duties" for thread in threading.enumerate())
    assert len(duty.ticks) == count


def test_an_error_is_reported_once_until_there_is_another() -> None:
    told: list[str] = []
    troubles = Troubles(lambda name, error: told.append(f"{name}: {error}"))
    duty = Counted()
    for text in ("full", "full", "gone", "full"):
        troubles(duty, StagingError(text))
    assert told == ["Counted: full", "Counted: gone", "Counted: full"]
