"""One run at a time per staging area: an advisory lock that ends with its owner, however that ends.

The file stays when the lock is gone; only the kernel's lock on it counts, never its content.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..proto.directories import make_private
from ..proto.errors import LockedError, StagingError
from ..proto.records import RunId

_NOTE_BYTES = 300
_TRIES = 5
_TRY_SECONDS = 0.01


class RunLock:
    """The lock of a staging area, as a context manager. Not reentrant; worker processes do not inherit it."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._path = staging / ".mailhaul" / "lock"
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        """Take the lock, without waiting. Raises LockedError, which names the owner, or StagingError."""
        try:
            make_private(self._path.parent)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StagingError(f"{self._path}: the lock can't be opened: {error.strerror}") from error
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self.note_run(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            # Closing alone would leave it to a process that is just being started, until that has begun.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def note_run(self, run: RunId | None) -> None:
        """Say for which run the lock is held; only others' error messages make use of it."""
        if self._descriptor is None:
            raise ValueError("the lock is not held")
        note = f"pid {os.getpid()} on {os.uname().nodename}" + (f", run {run}" if run else "")
        # On a full disk the lock must still be had, by a command that frees space for one.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, note.encode(errors="replace")[:_NOTE_BYTES], 0)

    def _take(self, descriptor: int) -> None:
        try:
            _lock_exclusively(descriptor)
        except BlockingIOError:
            owner = _note(descriptor) or "owner not known"
            raise LockedError(
                f"another run holds the lock of {self._staging} ({owner}); wait until it has ended",
                staging=str(self._staging),
                owner=owner,
            ) from None
        except OSError as error:
            raise StagingError(f"{self._path}: can't be locked: {error.strerror}") from error


def lock_owner(staging: Path) -> str | None:
    """What is noted of the owner of a staging area's lock, or None if nobody holds it. Does not take it, and
    may be asked by those who may only read. Raises StagingError if that can't be found out."""
    path = staging / ".mailhaul" / "lock"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StagingError(f"{path}: the lock can't be opened: {error.strerror}") from error
    try:
        # Those who ask do not hinder each other, and who wants the lock meanwhile tries more than once.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _note(descriptor) or "owner not known"
    except OSError as error:
        raise StagingError(f"{path}: can't be locked: {error.strerror}") from error
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return None
    finally:
        os.close(descriptor)


def _lock_exclusively(descriptor: int) -> None:
    """Raises BlockingIOError if somebody holds it, and is not just asking whether anybody does."""
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_TRY_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _note(descriptor: int) -> str:
    note = os.pread(descriptor, _NOTE_BYTES, 0).decode(errors="replace")
    return "".join(c if c.isprintable() else "?" for c in note)
