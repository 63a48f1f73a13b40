"""The lock of Dovecot's ``dovecot-uidlist``, under which UIDs are given and keywords are added.

It is a file that is created by whoever holds the lock, with ``pid:host`` in it. One that has not been
touched for two minutes, or whose process is gone, is overridden, as the server does.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...proto.errors import LockedError

_LOCK = b"dovecot-uidlist.lock"
_STALE_SECONDS = 120
_PAUSE_SECONDS = 0.05
_MODE = 0o644
_NO_NAMELESS_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
"""What systems answer that know no files without a name; the last one where there is no /proc."""


@contextmanager
def uidlist_lock(folder: int, wait_seconds: float = 30) -> Iterator[None]:
    """Hold the lock of the folder in this directory. Raises LockedError, OSError."""
    give_up = time.monotonic() + wait_seconds
    while not _take(folder):
        if not _drop_stale(folder):
            if time.monotonic() > give_up:
                raise LockedError("the server holds dovecot-uidlist.lock")
            time.sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(_LOCK, dir_fd=folder)


def _take(folder: int) -> bool:
    """Create the file, with all that is in it at once where the file system can: of an empty one nobody knows
    whose it is."""
    try:
        fd = os.open(b".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, _MODE, dir_fd=folder)
        try:
            os.write(fd, _holder())
            os.link(f"/proc/self/fd/{fd}", _LOCK, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(fd)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_NAMELESS_FILES:
            raise
        return _take_in_two_steps(folder)
    return True


def _take_in_two_steps(folder: int) -> bool:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(_LOCK, flags, _MODE, dir_fd=folder)
    except FileExistsError:
        return False
    try:
        os.write(fd, _holder())
    except OSError:
        os.unlink(_LOCK, dir_fd=folder)
        raise
    finally:
        os.close(fd)
    return True


def _holder() -> bytes:
    return f"{os.getpid()}:{os.uname().nodename}".encode()


def _drop_stale(folder: int) -> bool:
    """Remove the lock if nobody can hold it any more; whether it is gone."""
    try:
        fd = os.open(_LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return True
    try:
        status = os.fstat(fd)
        pid, _, host = os.read(fd, 512).partition(b":")
    finally:
        os.close(fd)
    if time.time() - status.st_mtime < _STALE_SECONDS and not _is_gone(pid, host):
        return False
    with suppress(FileNotFoundError):
        now = os.stat(_LOCK, dir_fd=folder, follow_symlinks=False)
        if (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino):
            os.unlink(_LOCK, dir_fd=folder)
    return True


def _is_gone(pid: bytes, host: bytes) -> bool:
    """Whether the process is one of this host that has ended."""
    if host.strip() != os.uname().nodename.encode() or not pid.isdigit() or len(pid) > 9:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
