"""The duty of notices: looks in a thread of their own, each minute; one process sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from mailhaul.coordinator.notices.delivery import Deliverer, sending
from mailhaul.coordinator.notices.duty import NoticesDuty
from mailhaul.proto.errors import StagingError

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Sender:
    """Counts how often it was told to begin."""

    def __init__(self) -> None:
        self.begun = 0
        self.fails = False

    def begin(self) -> bool:
        self.begun += 1
        if self.fails:
            raise StagingError("no space left on device")
        return False


class Look:
    """Remembers when it looked; ``hold`` keeps it at that."""

    def __init__(self) -> None:
        self.at: list[datetime] = []
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, now: datetime) -> None:
        self.at.append(now)
        assert self.hold.wait(20)


def a_duty(staging: Path, sender: Sender, *jobs: Callable[[datetime], object]) -> NoticesDuty:
    return NoticesDuty(staging, cast(Deliverer, sender), *jobs)


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_it_sends_at_each_tick_and_looks_each_minute(tmp_path: Path) -> None:
    sender, look = Sender(), Look()
    duty = a_duty(tmp_path, sender, look)
    for second in range(121):
        duty.tick(NOW + second * SECOND)
        eventually(lambda: duty._looking is not None and not duty._looking.is_alive())
    assert sender.begun == 121
    assert look.at == [NOW, NOW + 60 * SECOND, NOW + 120 * SECOND]
    duty.tick(NOW - timedelta(days=1))
    eventually(lambda: len(look.at) == 4)
    duty.close()


def test_a_look_that_takes_long_keeps_nobody_waiting_and_is_not_begun_twice(tmp_path: Path) -> None:
    sender, look = Sender(), Look()
    look.hold.clear()
    duty = a_duty(tmp_path, sender, look)
    for minute in range(5):
        duty.tick(NOW + minute * 60 * SECOND)
    assert sender.begun == 5
    eventually(lambda: look.at == [NOW])
    look.hold.set()
    duty.close()


def test_what_a_look_raises_is_raised_once_by_a_tick_and_others_are_made(tmp_path: Path) -> None:
    look = Look()

    def broken(_: datetime) -> None:
        raise StagingError("the look failed")

    duty = a_duty(tmp_path, Sender(), broken, look)

    def raises(second: int) -> bool:
        try:
            duty.tick(NOW + second * SECOND)
        except StagingError:
            return True
        return False

    first = raises(0)
    eventually(lambda: look.at == [NOW])
    assert [first, raises(1), raises(2)].count(True) == 1
    duty.close()


def test_looks_are_made_also_where_nothing_can_be_sent(tmp_path: Path) -> None:
    sender, look = Sender(), Look()
    sender.fails = True
    duty = a_duty(tmp_path, sender, look)
    with pytest.raises(StagingError):
        duty.tick(NOW)
    eventually(lambda: look.at == [NOW])
    duty.close()


def test_another_process_that_sends_is_waited_for_tick_by_tick(tmp_path: Path) -> None:
    sender = Sender()
    duty = a_duty(tmp_path, sender)
    with sending(tmp_path):
        duty.tick(NOW)
        duty.tick(NOW + SECOND)
        assert sender.begun == 0
    duty.tick(NOW + 2 * SECOND)
    assert sender.begun == 1
    duty.close()
    duty.close()
    with sending(tmp_path):
        pass
