"""Access control lists and extended attributes, as Linux keeps them: both are attributes of a file by name.

Kept are the lists of POSIX and what users may set (``user.``). Others belong to the machine (security labels,
quota, capabilities) or tell the mode bits again (``system.nfs4_acl``).
"""

from __future__ import annotations

import errno
import os
import struct

from ...proto.records import Attributes
from .notices import Notices

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_LISTS = (ACCESS, DEFAULT)
_USER = "user."

MOST_BYTES = 1 << 16
"""Attributes of one file that are longer together are not kept: it is what one of them may have on Linux."""

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_GROUP, _MASK = 0x04, 0x10  # ACL_GROUP_OBJ, ACL_MASK of the kernel's format
_RIGHTS = 0o7


class AttributeReader:
    """Reads the attributes of open files. File systems without any are asked once. What can't be read is
    told in ``notices``."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._without: set[int] = set()

    def of(self, file: int | bytes, device: int, path: bytes, *, home: bool = False) -> Attributes:
        """Those of a file that is open, or has this name (a link is not followed); it lies on a file system
        with this number, and is called ``path`` towards people."""
        if device in self._without:
            return ()
        follow = isinstance(file, int)
        try:
            names = os.listxattr(file, follow_symlinks=follow)
            if not names:
                return ()
            kept = sorted(name for name in names if name in _LISTS or name.startswith(_USER))
            values = [(name, os.getxattr(file, name, follow_symlinks=follow)) for name in kept]
        except FileNotFoundError:
            return ()  # whoever reads the file will say so
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                self._without.add(device)
            elif error.errno != errno.ENODATA:  # taken away at this moment
                detail = f"access list and attributes can't be read: {error.strerror}"
                self._notices.add(path, "attribute", detail, home=home)
            return ()
        size = sum(len(name) + len(value) for name, value in values)
        if size > MOST_BYTES:
            detail = f"attributes of {size} bytes are not kept"
            self._notices.add(path, "attribute", detail, home=home)
            values = [one for one in values if one[0] in _LISTS]
        return tuple(values)


def named(directory: int, name: bytes) -> bytes:
    """A name in an open directory, as a path."""
    return b"/proc/self/fd/%d/%s" % (directory, name)


def put(fd: int, attributes: Attributes) -> bool:
    """Give them to an open file or directory; False if it could not take all of them."""
    whole = True
    for name, value in attributes:
        if name in _LISTS or name.startswith(_USER):
            try:
                os.setxattr(fd, name, value)
            except (OSError, ValueError):
                whole = False
    return whole


def remove_lists(fd: int, attributes: Attributes = ()) -> None:
    """Take the access lists from a directory that it has without being among ``attributes``: those that it
    got from the directory in which it was made. Raises OSError."""
    kept = dict(attributes)
    try:
        there = os.listxattr(fd)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return
        raise
    for name in _LISTS:
        if name in there and name not in kept:
            os.removexattr(fd, name)


def without_list(mode: int, attributes: Attributes) -> int:
    """The mode of a file whose access list can't be kept. With a list, the group's bits of the mode are the
    most that anyone named in it may have; the group itself often has less."""
    value = dict(attributes).get(ACCESS)
    if value is None:
        return mode
    rights = {_GROUP: 0, _MASK: _RIGHTS}
    for at in range(_HEADER.size, len(value) - _ENTRY.size + 1, _ENTRY.size):
        tag, allowed, _ = _ENTRY.unpack_from(value, at)
        rights[tag] = allowed
    return mode & ~0o070 | (mode & (rights[_GROUP] & rights[_MASK] & _RIGHTS) << 3)
