"""Workers that end in a mailbox as if they were killed. A module of its own, because a worker imports it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mailhaul.coordinator.dispatch.driver import Pace
from mailhaul.coordinator.dispatch.engine import Outcome
from mailhaul.coordinator.dispatch.local import run_tasks
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import RestoreTaskReport
from mailhaul.worker.tasks.restore import RestoreTask, run_restore

KILLS = "jane"
"""Whose mail ends a worker at each attempt; her folders do not."""


def engine(function: Any, tasks: Sequence[Any], on_progress: ProgressSink) -> Iterator[Outcome[Any, Any]]:
    """An Engine with a worker process for restores; it rests before no attempt."""
    if function is not run_restore:
        return run_tasks(function, tasks, workers=0, on_progress=on_progress)
    pace = Pace(retry_seconds=(0.0,))
    return run_tasks(restore_or_die, tasks, workers=1, on_progress=on_progress, pace=pace)


def restore_or_die(task: RestoreTask, progress: ProgressSink) -> RestoreTaskReport:
    """See ``run_restore``."""
    if any(choice.to_user == KILLS and choice.slice is not None for choice in task.choices):
        os._exit(9)
    return run_restore(task, progress)
