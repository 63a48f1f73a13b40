"""A piece of work in a process of its own that kills itself with SIGKILL before its n-th step on the disk."""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

Steps = Sequence[tuple[Any, str]]
"""Functions, by their owners and names."""

NEVER = 1 << 40
"""A step that is never reached."""


def killed_at(step: int, steps: Steps, work: Callable[[], object]) -> bool:
    """Do the work in a process that dies before its n-th call of one of ``steps``; False if it has fewer, and
    then it must end well."""
    status, _ = _done(step, steps, work)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def steps_of(steps: Steps, work: Callable[[], object]) -> int:
    """Do the work in a process of its own, which must end well: how many of these steps it took."""
    status, taken = _done(NEVER, steps, work)
    assert status == 0
    return taken


def begun(step: int, steps: Steps, work: Callable[[], object]) -> tuple[int, mmap.mmap]:
    """Begin the work in a process that dies before its n-th call of one of ``steps``: its id, which the
    caller waits for, and where it counts them."""
    taken = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _die_at(step, steps, taken)
            work()
            status = 0
        finally:
            os._exit(status)
    return child, taken


def _done(step: int, steps: Steps, work: Callable[[], object]) -> tuple[int, int]:
    """How the process ended, and how many steps it took."""
    child, taken = begun(step, steps, work)
    _, status = os.waitpid(child, 0)
    return status, int.from_bytes(taken[:], "little")


def _die_at(step: int, steps: Steps, taken: mmap.mmap) -> None:
    def guarded(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **more: Any) -> object:
            number = int.from_bytes(taken[:], "little") + 1
            taken[:] = number.to_bytes(8, "little")
            if number == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **more)

        return call

    for owner, name in steps:
        setattr(owner, name, guarded(getattr(owner, name)))
