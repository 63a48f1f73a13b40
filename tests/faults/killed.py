"""A piece of work in a process of its own that kills itself with SIGKILL before its n-th step on the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any


def killed_at(step: int, steps: Sequence[tuple[Any, str]], work: Callable[[], object]) -> bool:
    """Do the work in a process that dies before its n-th call of one of ``steps`` (functions, by their owners
    and names); False if it has fewer, and then it must end well."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _die_at(step, steps)
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _die_at(step: int, steps: Sequence[tuple[Any, str]]) -> None:
    left = [step]

    def guarded(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **more: Any) -> object:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **more)

        return call

    for owner, name in steps:
        setattr(owner, name, guarded(getattr(owner, name)))
