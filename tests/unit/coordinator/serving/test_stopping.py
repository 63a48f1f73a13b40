"""Operations that are stopped while nobody serves, with real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.clock import SystemClock
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Request
from mailhaul.coordinator.serving.files import carrying_out, is_carried_out
from mailhaul.coordinator.serving.serve_lock import serving
from mailhaul.coordinator.serving.stopping import SeenOutBehind, see_out, stop

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)

CARRIES = """\
import os, signal, sys, time
from datetime import UTC, datetime
from pathlib import Path
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.serving.files import carrying_out

staging, number, deaf = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "deaf"
queue, now = Operations(staging), datetime.now(UTC)

def leave(number_of_signal, _):
    signal.signal(number_of_signal, signal.SIG_IGN)  # as the command does: a second one is none
    queue.end(number, "stopped", now, exit_status=143)
    sys.exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if deaf else leave)
with carrying_out(staging, number):
    assert queue.begin(number, os.getpid(), now)
    print("begun", flush=True)
    time.sleep(600)
"""


class Place:
    """A staging area with operations that processes carry out."""

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self.queue = Operations(staging)
        self.processes: list[subprocess.Popen[str]] = []

    def running(self, how: str) -> int:
        """An operation that is under way, whose process stops when it is asked to, or is ``deaf``."""
        number = self.queue.add(Request(kind="sweep", asked_by="cli:root"), NOW).id
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", CARRIES, str(self.staging), str(number), how],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        return number

    def stop(self, number: int) -> str:
        return stop(self.staging, number, lambda: NOW).state


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


def test_who_stops_in_order_is_waited_for(place: Place) -> None:
    polite = place.running("polite")
    assert place.stop(polite) == "stopping"
    assert see_out(place.staging, (polite,), 600.0, SystemClock())
    operation = place.queue.get(polite)
    assert (operation.state, operation.exit_status, operation.error) == ("stopped", 143, "")
    assert place.processes[0].wait(60) == 0


def test_who_does_not_is_killed_after_the_grace(place: Place) -> None:
    deaf = place.running("deaf")
    assert place.stop(deaf) == "stopping"
    assert see_out(place.staging, (deaf,), 0.5, SystemClock())
    operation = place.queue.get(deaf)
    assert (operation.state, operation.exit_status, operation.error) == (
        "stopped",
        None,
        "it was killed while it stopped",
    )
    assert place.processes[0].wait(60) == -signal.SIGKILL


def test_one_whose_process_is_gone_has_ended(place: Place, tmp_path: Path) -> None:
    gone = place.queue.add(Request(kind="sweep", asked_by="cli:root"), NOW).id
    assert place.queue.begin(gone, 2**22 + 1, NOW)
    assert place.stop(gone) == "stopping"
    assert see_out(place.staging, (gone,), 600.0, SystemClock())
    assert place.queue.get(gone).state == "stopped"


def test_where_somebody_serves_that_is_not_waited_for(place: Place) -> None:
    deaf = place.running("deaf")
    assert place.stop(deaf) == "stopping"
    with serving(place.staging):
        assert see_out(place.staging, (deaf,), 600.0, SystemClock())
    assert place.queue.get(deaf).state == "stopping"


def test_what_can_not_be_killed_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Operations(tmp_path)
    number = queue.add(Request(kind="sweep", asked_by="cli:root"), NOW).id
    monkeypatch.setattr("mailhaul.coordinator.serving.stopping.KILLED_WITHIN_SECONDS", 0.3)
    with carrying_out(tmp_path, number):  # by a process that no signal reaches
        assert queue.begin(number, 2**22 + 1, NOW)
        assert queue.stopping(number)
        assert not see_out(tmp_path, (number,), 0.1, SystemClock())
    assert queue.get(number).state == "stopping"


def test_a_process_that_goes_on_sees_to_it_as_well(place: Place) -> None:
    deaf = place.running("deaf")
    assert place.stop(deaf) == "stopping"
    behind = SeenOutBehind(place.staging, 0.5, SystemClock())
    behind((deaf,))
    behind((deaf,))
    until = time.monotonic() + 60
    while place.queue.get(deaf).state != "stopped":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not is_carried_out(place.staging, deaf)
