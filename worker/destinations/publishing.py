"""A file gets its final name, atomically, and never in the place of another: on file systems with hard links,
with a rename that does not replace, and with neither.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from contextlib import suppress

_NOREPLACE = 1
_CANT = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK, errno.EACCES}
"""How file systems, old kernels and filters of system calls say that they do not know a call. What is really
forbidden is so by the last way, too."""


def publish(source_dir: int, source: str, target_dir: int, target: str) -> None:
    """Give the file ``source`` of one open directory the name ``target`` in another one.

    Raises FileExistsError if something has that name, and OSError. Where the file system has neither of the
    two calls for it, only those of this host are kept from doing the same at the same time.
    """
    for way in (_rename_without_replacing, _link, _rename_alone):
        try:
            way(source_dir, source, target_dir, target)
        except OSError as error:
            if way is _rename_alone or error.errno not in _CANT:
                raise
        else:
            return


def _rename_without_replacing(source_dir: int, source: str, target_dir: int, target: str) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(source_dir, source.encode(), target_dir, target.encode(), ctypes.c_uint(_NOREPLACE)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _link(source_dir: int, source: str, target_dir: int, target: str) -> None:
    os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
    os.unlink(source, dir_fd=source_dir)


def _rename_alone(source_dir: int, source: str, target_dir: int, target: str) -> None:
    """For exFAT over FUSE, LTFS and the like."""
    with suppress(OSError):
        fcntl.flock(source_dir, fcntl.LOCK_EX)
    try:
        try:
            os.stat(target, dir_fd=target_dir, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    finally:
        with suppress(OSError):
            fcntl.flock(source_dir, fcntl.LOCK_UN)
