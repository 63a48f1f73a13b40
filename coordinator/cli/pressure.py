"""A backup that waits for room in the staging area has it swept: by a program of its own, which goes on
beside the run and may outlive it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...proto.ports import ProgressSink
from ...proto.records import Progress
from ...worker.staging.space import FULL
from ..dispatch.engine import Engine, Outcome, ReportT, TaskT

_PAUSE_SECONDS = 60.0
"""From the end of one such sweep to the beginning of the next."""


def relieved(engine: Engine, sweep: Callable[[], object]) -> Engine:
    """An engine whose tasks, when one waits for room in the staging area, have ``sweep`` called; which must
    be quick."""

    def run(
        function: Callable[[Any, ProgressSink], ReportT], tasks: Sequence[TaskT], on_progress: ProgressSink
    ) -> Iterator[Outcome[TaskT, ReportT]]:
        def told(progress: Progress) -> None:
            if progress.waiting == FULL:
                sweep()
            on_progress(progress)

        return engine(function, tasks, told)

    return run


class Sweeper:
    """Starts ``mailhaul sweep``, one at a time. ``clock`` tells seconds."""

    def __init__(self, config: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        named = [] if config is None else ["--config", str(config)]
        self._command = [sys.executable, "-P", "-m", f"{__name__.partition('.')[0]}", *named, "sweep"]
        self._clock = clock
        self._going: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0

    def __call__(self) -> None:
        """Start one, unless one goes on or has just ended."""
        if self._going is not None:
            if self._going.poll() is None:
                return
            self._going = None
            self._not_before = self._clock() + _PAUSE_SECONDS
        if self._clock() >= self._not_before:
            # Not ended with the run, nor by what is typed to it: what it has begun is worth finishing.
            self._going = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
