"""A file is opened and, if it is an ordinary small one, read at once. ``_native.c`` has the same in C."""

from __future__ import annotations

import errno
import os
import stat

MOST_BYTES = 64 << 10
"""Larger files are left open: whoever opened them reads them in pieces."""

LATEST_SECOND = 9_000_000_000

OrdinaryFile = tuple[bytes, int, int, int, int, int]
"""Content, time of the last change (nanoseconds since 1970), mode, user and group id, inode."""


def read_file(directory: int, name: bytes, flags: int) -> int | OrdinaryFile:
    """Open a name in an open directory. All of a regular file that has this name only, no attributes that a
    backup keeps, no more than MOST_BYTES, and just as many as the file system says; of any other file its
    descriptor, open, and nothing was read. Raises OSError if it can't be opened."""
    fd = os.open(name, flags, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_nlink > 1
            or status.st_size > MOST_BYTES
            or abs(status.st_mtime_ns) > LATEST_SECOND * 10**9
            or _has_attributes(fd)
        ):
            return fd
        data = os.pread(fd, status.st_size + 1, 0)
    except OSError:
        return fd
    if len(data) != status.st_size:
        return fd
    os.close(fd)
    return data, status.st_mtime_ns, status.st_mode, status.st_uid, status.st_gid, status.st_ino


def _has_attributes(fd: int) -> bool:
    try:
        names = os.listxattr(fd)
    except OSError as error:
        return error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS)
    return bool(names) and any(
        name.startswith("user.") or name in ("system.posix_acl_access", "system.posix_acl_default")
        for name in names
    )
