"""The worker's side of the Ray engine: what runs in each actor on a mail host.

Knows nothing of Ray, which only calls it. Tasks and reports are bytes to everybody between the coordinator
and this module, so that no version of Ray has to understand them.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ...proto.errors import BackupError
from ...proto.ports import ProgressSink
from ...proto.records import Progress
from . import child
from .task_bytes import is_sealed, unpacked

if TYPE_CHECKING:
    from ...proto.wire.keys import KeyPair

ProgressConnection = Callable[[str], ProgressSink]
"""Makes, in a worker on the host of that name, what takes its progress away. Must be picklable."""


def no_progress(_host: str) -> ProgressSink:
    """The connection of workers whose progress nobody wants."""
    return _drop


def _drop(_: Progress) -> None:
    """Nobody listens."""


class Actor:
    """One worker: does one task after the other, as long as Ray lets it live."""

    def __init__(self, function: bytes, connection: bytes, host: str, keys: str = "") -> None:
        """Two are pickled: the dispatched function, and a ``ProgressConnection``. ``keys`` is the directory
        of the host's own key pair; without it the worker takes no sealed tasks."""
        self._function: Callable[[object, ProgressSink], object] = pickle.loads(function)  # noqa: S301
        connect: ProgressConnection = pickle.loads(connection)  # noqa: S301
        self._progress = connect(host)
        self._host = host
        self._keys = keys
        # Of this process alone, and in its memory only: with it goes what opens what was sent to it.
        self._pair = _new_pair() if keys else None

    def ready(self) -> tuple[int, str]:
        """Answers as soon as tasks can be taken, with the number of this process, and the public key for
        which tasks are to be sealed; empty if there is none."""
        return os.getpid(), self._pair.public if self._pair is not None else ""

    def run(self, task: bytes) -> bytes:
        """Do a pickled task, which may be sealed; the pickled ``child.Answer``. Raises nothing because of a
        task."""
        answer = child.encoded(child.attempt(partial(self._run, task)))
        if is_sealed(task):
            from ...worker.memory import overwrite_freed_memory

            overwrite_freed_memory()
        return answer

    def hold_back(self, governor: str, share: float) -> None:
        """From now on the workers on this host that have this governor do this share of what they could.
        Called beside ``run``."""
        from ...worker.load.share import write_share

        # Where that can't be written, the tasks that would read it say so.
        with suppress(BackupError):
            write_share(self._host, governor, share)

    def _run(self, task: bytes) -> object:
        return self._function(unpacked(task, self._host, self._keys, self._pair), self._progress)


def _new_pair() -> KeyPair:
    from ...proto.wire.keys import new_pair  # ZeroMQ is loaded only where hosts have keys

    return new_pair()
