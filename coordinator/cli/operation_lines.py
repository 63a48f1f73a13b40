"""Operations in words, for people."""

from __future__ import annotations

import shlex

from ..service.records import Operation
from ..serving.rules import NAMES
from . import output

_LONGEST = 60


def called(operation: Operation) -> str:
    """The command: ``backup /primary/staff --full``."""
    request = operation.request
    words = [NAMES.get(request.kind, request.kind), *map(shlex.quote, request.arguments)]
    return output.cut(" ".join(words), _LONGEST)


def circumstances(operation: Operation) -> str:
    """What there is to say of its state: what it waits for, what went wrong, how often it died."""
    words = [operation.waits_for, operation.error.partition("\n")[0]]
    if operation.deaths:
        words.append(f"its process died {output.counted(operation.deaths, 'time')}")
    if operation.state == "waiting" and operation.resumes:
        words.append(f"goes on with {operation.resumes}")
    return output.cut("; ".join(filter(None, words)), 2 * _LONGEST)
