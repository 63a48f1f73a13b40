"""The worker's side of the Ray engine: what runs in each actor on a mail host.

Knows nothing of Ray, which only calls it. Tasks and reports are bytes to everybody between the coordinator
and this module, so that no version of Ray has to understand them.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial

from ...proto.ports import ProgressSink
from ...proto.records import Progress
from . import child

ProgressConnection = Callable[[str], ProgressSink]
"""Makes, in a worker on the host of that name, what takes its progress away. Must be picklable."""


def no_progress(_host: str) -> ProgressSink:
    """The connection of workers whose progress nobody wants."""
    return _drop


def _drop(_: Progress) -> None:
    """Nobody listens."""


class Actor:
    """One worker: does one task after the other, as long as Ray lets it live."""

    def __init__(self, function: bytes, connection: bytes, host: str) -> None:
        """Both are pickled: the dispatched function, and a ``ProgressConnection``."""
        self._function: Callable[[object, ProgressSink], object] = pickle.loads(function)  # noqa: S301
        connect: ProgressConnection = pickle.loads(connection)  # noqa: S301
        self._progress = connect(host)

    def ready(self) -> int:
        """Answers as soon as tasks can be taken, with the number of this process."""
        return os.getpid()

    def run(self, task: bytes) -> bytes:
        """Do a pickled task; the pickled ``child.Answer``. Raises nothing because of a task."""
        return child.encoded(child.attempt(partial(self._run, task)))

    def _run(self, task: bytes) -> object:
        return self._function(pickle.loads(task), self._progress)  # noqa: S301
