"""How many messages a Maildir folder has, from a listing of its own: nothing of what was written there before
is relied upon."""

from __future__ import annotations

import os
from contextlib import ExitStack

from ..packing import hot_path
from ..packing.entries import FILE
from .directories import descend
from .listing import PLACES

_PASSES = 4


def count_messages(folder: int) -> int:
    """The messages of a folder, whose directory is open. Where its server renames some meanwhile, a pass may
    miss them: it is counted again. Raises OSError."""
    with ExitStack() as stack:
        fds = []
        for place in PLACES:
            try:
                fds.append(descend(folder, (place.encode(),)))
            except FileNotFoundError:
                continue
            stack.callback(os.close, fds[-1])
        most = 0
        for _ in range(_PASSES):
            before = [os.fstat(fd).st_mtime_ns for fd in fds]
            most = max(most, sum(map(_messages_in, fds)))
            if before == [os.fstat(fd).st_mtime_ns for fd in fds]:
                break
        return most


def _messages_in(fd: int) -> int:
    return sum(kind == FILE and not name.startswith(b".") for name, kind, _ in hot_path.entries_in(fd))
