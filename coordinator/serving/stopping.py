"""An operation is asked to stop, whatever it does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ...proto.errors import UsageError
from ..service.operations import Operations
from ..service.records import ENDED, Operation
from .processes import ask_to_end
from .serve_lock import is_served


def check_can_stop(operation: Operation) -> None:
    """Raises UsageError for one that has ended, and does not go on."""
    if operation.state in ENDED and operation.state != "interrupted":
        raise UsageError(f"operation {operation.id} has ended: {operation.state}")


def stop(staging: Path, number: int, now: Callable[[], datetime]) -> Operation:
    """Stop an operation; returns it as it is then: one that waited has ended, one that runs is about to.
    Raises NotFoundError, StagingError."""
    queue = Operations(staging)
    while True:
        one = queue.get(number)
        if one.state in ("waiting", "interrupted"):
            # Not one whose process has just begun with it.
            if queue.withdraw(number, now()):
                return queue.get(number)
        elif one.state == "running":
            if queue.stopping(number):
                if not is_served(staging):
                    ask_to_end(staging, one)
                return queue.get(number)
        else:
            return one
