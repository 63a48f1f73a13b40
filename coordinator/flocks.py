"""Advisory locks on files, waited for in bounded time. They end with their owner, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..proto.directories import make_private
from ..proto.errors import LockedError, StagingError

_PAUSE_SECONDS = 0.05


@contextmanager
def flocked(
    path: Path,
    obstacle: str,
    *,
    shared: bool = False,
    patience_seconds: float,
    on_wait: Callable[[str], object] = lambda _: None,
) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is not there, while the context lasts.

    ``obstacle`` says what goes on while others hold it; ``on_wait`` is told, once, when that has to be waited
    for. Raises LockedError if it lasts longer than the patience; StagingError if the file can't be opened or
    locked.
    """
    descriptor = _opened(path)
    try:
        _take(
            path, descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, obstacle, patience_seconds, on_wait
        )
        try:
            yield
        finally:
            # Closing alone would leave it to a process that is just being started, until that has begun.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            # Whoever may read a file can lock it, also where nothing may be written.
            return os.open(path, flags)
        except FileNotFoundError:
            make_private(path.parent)
            return os.open(path, flags | os.O_CREAT, 0o600)
    except OSError as error:
        raise StagingError(f"{path}: the lock can't be opened: {error.strerror}", path=str(path)) from error


def _take(
    path: Path,
    descriptor: int,
    kind: int,
    obstacle: str,
    patience_seconds: float,
    on_wait: Callable[[str], object],
) -> None:
    until = time.monotonic() + patience_seconds
    told = False
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise LockedError(
                    f"{obstacle} ({path} is locked); try again when that has ended", path=str(path)
                ) from None
        except OSError as error:
            raise StagingError(f"{path}: can't be locked: {error.strerror}", path=str(path)) from error
        if not told:
            on_wait(obstacle)
            told = True
        time.sleep(_PAUSE_SECONDS)
