"""Keeping Dovecot from synchronising a folder with its index for a moment.

A session that does so has ``dovecot.index.log`` and the UID list locked. One that had begun while messages
were put below the UIDs that it knew would take them for expunged ones that reappear, and number them anew.
Who gets the lock of a log afterwards sees that there is another one by now, and comes back.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ...proto.errors import LockedError
from .dotlock import uidlist_lock
from .dovecot_index import LOG

_PATIENCE_SECONDS = 20.0
_PAUSE_SECONDS = 0.01
_SOON_SECONDS = 0.2


@contextmanager
def folder_unused(index: int, lists: int, wait_seconds: float = 30) -> Iterator[None]:
    """Hold the lock of the UID list in the directory ``lists`` while nobody synchronises the folder, as
    ``index_unused``. Raises LockedError, OSError.

    The server takes the two in one order when it delivers and in the other when it looks at a folder. So
    whoever does not get the second soon lets go of the first: else both sides would wait for each other.
    """
    give_up = time.monotonic() + wait_seconds
    while True:
        with ExitStack() as stack:
            stack.enter_context(index_unused(index))
            try:
                stack.enter_context(uidlist_lock(lists, _SOON_SECONDS))
            except LockedError:
                if time.monotonic() > give_up:
                    raise
            else:
                yield
                return
        time.sleep(_SOON_SECONDS)


@contextmanager
def index_unused(index: int) -> Iterator[None]:
    """Nobody synchronises the folder whose index files are in this open directory while the context lasts;
    without a log nobody does. Where the lock can't be had it goes on without. Raises OSError."""
    fd = _locked_log(index, time.monotonic() + _PATIENCE_SECONDS)
    try:
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def _locked_log(index: int, until: float) -> int:
    while True:
        try:
            fd = os.open(LOG, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=index)
        except OSError:
            return -1
        # Which of the two Dovecot takes is a setting of it.
        if _taken(fd) and _is_current(fd, index):
            return fd
        os.close(fd)
        if time.monotonic() > until:
            return -1
        time.sleep(_PAUSE_SECONDS)


def _taken(fd: int) -> bool:
    with suppress(OSError):
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_current(fd: int, index: int) -> bool:
    """Whether the server has not begun another log meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), os.stat(LOG, dir_fd=index, follow_symlinks=False))
    return False
