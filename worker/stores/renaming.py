"""What ``rename`` does not promise by itself: that nothing is replaced, or that two files change places."""

from __future__ import annotations

import ctypes
import errno
import os

from .scaffold import link_new

_NO_REPLACE = 1
_EXCHANGE = 2
_UNKNOWN = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP}


def rename_new(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Give a file another name, also in another directory of the same file system. Raises FileExistsError if
    that is taken, FileNotFoundError, OSError. Where the system can't do that in one step there are both names
    for a moment."""
    if not _renamed(source, name, target, new_name, _NO_REPLACE):
        link_new(source, name, target, new_name)
        os.unlink(name, dir_fd=source)


def exchange(one: int, name: bytes, other: int, other_name: bytes) -> bool:
    """Let two files change places; False where the system can't. Raises OSError."""
    return _renamed(one, name, other, other_name, _EXCHANGE)


def _renamed(source: int, name: bytes, target: int, new_name: bytes, flags: int) -> bool:
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if rename(source, name, target, new_name, flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number))
