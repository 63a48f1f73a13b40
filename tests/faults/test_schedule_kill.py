"""``kill -9`` at any point while the schedule puts operations in: none is lost, none is there twice."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from mailhaul.coordinator.scheduling.settings import ScheduleConfig
from mailhaul.coordinator.service.handled import HandledMoments

from ..unit.coordinator.scheduling.test_duty import Served, at, expected
from ..unit.coordinator.scheduling.test_entries import times

SCHEDULE = ScheduleConfig(backup=times("02:30"), full=times("sun 02:30"), sweep=times("06:00", "18:00"))
STEP = timedelta(minutes=30)
DAYS = 30


def test_thirty_days_of_processes_that_are_killed(tmp_path: Path, rounds: int) -> None:
    source = random.Random(13)
    first = at("2027-03-10T12:00")
    last = first + timedelta(days=DAYS)
    served = Served(tmp_path, SCHEDULE)
    served.pass_time(first, first, STEP)
    ticks = mmap.mmap(-1, 8)  # how many have begun, whatever becomes of the process
    killed = 0
    while not _serve(served, ticks, source, DAYS * 48 // rounds):
        killed += 1
    assert killed >= rounds
    done = [one for one in expected(first, last, own=False) if "purge" not in one]
    assert Counter(served.put_in()) == Counter(done)
    assert {handled.passed_over for handled in HandledMoments(tmp_path).all().values()} == {""}


def _serve(served: Served, ticks: mmap.mmap, source: random.Random, most: int) -> bool:
    """A process serves from the last tick that was begun on, until it is killed, at any point of one of the
    ticks that follow (so many at most), or all days have passed."""
    begun = _number(ticks)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            served.start()
            begin = at("2027-03-10T12:00")
            served.finish(begin + _number(ticks) * STEP)
            while (number := _number(ticks)) <= DAYS * 48:
                served.pass_time(begin + number * STEP, begin + number * STEP, STEP)
                time.sleep(0.001)  # most ticks are over in no time
                ticks[:] = (number + 1).to_bytes(8, "little")
            status = 0
        finally:
            os._exit(status)
    last = begun + source.randrange(most)
    while _number(ticks) < last and _number(ticks) <= DAYS * 48:
        time.sleep(0.001)
    time.sleep(source.choice((0, 0.001, 0.004)))
    os.kill(child, signal.SIGKILL)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0
    return not os.WIFSIGNALED(ended)


def _number(ticks: mmap.mmap) -> int:
    return int.from_bytes(ticks[:], "little")
