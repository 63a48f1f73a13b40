"""Temporary files: those of a process lie in a directory of its own, which it removes when it ends.

A process that is killed can't do that. So each directory is locked as long as its process lives, and each
process removes what it finds unlocked.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

_PREFIX = "mailhaul."
_SETTLED_SECONDS = 60.0
"""A directory that is younger may not be locked yet."""


_LAST = -1000
"""After all that multiprocessing does at its end."""


@contextmanager
def scratch_directory() -> Iterator[None]:
    """As long as the context lasts, all temporary files of this process, those of libraries too, are made in
    a directory of its own; that is there until the process ends. Where none can be made, nothing is changed:
    most commands need none."""
    before = tempfile.tempdir
    with suppress(OSError):
        tempfile.tempdir = _own(tempfile.gettempdir())
    try:
        yield
    finally:
        tempfile.tempdir = before


@cache
def _own(above: str) -> str:
    _remove_leftovers(above)
    place = tempfile.mkdtemp(prefix=_PREFIX, dir=above)
    _lock(place)  # and never let go of it
    if util := sys.modules.get("multiprocessing.util"):
        util.Finalize(None, _leave, (place, os.getpid()), exitpriority=_LAST)
    else:
        # What is registered later is called earlier: multiprocessing has cleaned up by then.
        atexit.register(_leave, place, os.getpid())
    return place


def _leave(place: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(place, ignore_errors=True)


def _remove_leftovers(above: str) -> None:
    with os.scandir(above) as found:
        ours = [one.path for one in found if one.name.startswith(_PREFIX) and _is_old(one)]
    for place in ours:
        with suppress(OSError):
            descriptor = _lock(place)
            shutil.rmtree(place, ignore_errors=True)
            os.close(descriptor)


def _is_old(one: os.DirEntry[str]) -> bool:
    """Whether it is a directory of this user's that was not made just now."""
    with suppress(OSError):
        status = one.stat(follow_symlinks=False)
        is_ours = one.is_dir(follow_symlinks=False) and status.st_uid == os.geteuid()
        return is_ours and status.st_mtime < time.time() - _SETTLED_SECONDS
    return False


def _lock(place: str) -> int:
    """Hold the lock of a directory until the descriptor is closed, or this process ends. Raises OSError if
    another does."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
