"""Operations in words, for people."""

from __future__ import annotations

import shlex

from ...proto.errors import EXIT_LOCKED, EXIT_SKIPPED
from ..service.records import Operation
from ..serving.progress import OperationProgress
from ..serving.rules import NAMES
from . import output

_LONGEST = 60

_PARTIAL = {EXIT_SKIPPED: "something was skipped", EXIT_LOCKED: "what is being read was left"}


def called(operation: Operation, longest: int = _LONGEST) -> str:
    """The command: ``backup /primary/staff --full``, in so many columns."""
    request = operation.request
    words = [NAMES.get(request.kind, request.kind), *map(shlex.quote, request.arguments)]
    return output.cut(" ".join(words), longest)


def course(progress: OperationProgress) -> str:
    """How far an operation is: ``1.2 GB of 2.4 GB, 1,234 of 5,678 messages, 12.3 MB/s, 3:20 left``."""
    rest = "" if progress.seconds_left is None else f", {output.duration(progress.seconds_left)} left"
    done, expected = output.size(progress.size_bytes), output.size(progress.expected_bytes)
    messages = output.counted(progress.expected_messages, "message")
    return (
        f"{done} of {expected}, {output.number(progress.messages)} of {messages}, "
        f"{progress.bytes_per_second / 1e6:.1f} MB/s{rest}"
    )


def circumstances(operation: Operation) -> str:
    """What there is to say of its state: what it waits for, what went wrong, how often it died."""
    words = [operation.waits_for, operation.error.partition("\n")[0]]
    if operation.deaths:
        words.append(f"its process died {output.counted(operation.deaths, 'time')}")
    if operation.state == "waiting" and operation.resumes:
        words.append(f"goes on with {operation.resumes}")
    if operation.state == "interrupted":
        words.append("goes on when `mailhaul serve` runs again")
    if operation.state == "partial" and operation.exit_status in _PARTIAL:
        words.append(_PARTIAL[operation.exit_status])
    return output.cut("; ".join(filter(None, words)), 2 * _LONGEST)
