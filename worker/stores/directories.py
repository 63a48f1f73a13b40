"""Directories of a mail store, reached by descriptors: no step below a starting point follows a link.

Owns how names are checked and opened and what an error of the file system means for the port. What the
names mean is not known here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from ...groups.paths import printable
from ...proto.errors import BackupError, MessageUnavailable, StoreError, TargetFullError
from ...proto.records import Attributes, Directory, DirectoryKind, Ownership
from ..packing import hot_path

DEEPEST = 64
"""Directories nested deeper than this are not entered."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_REASONS = {
    errno.ENOENT: "vanished",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ELOOP: "leads-out",
    errno.ENXIO: "not-regular",
    errno.ENODEV: "not-regular",
    errno.EISDIR: "not-regular",
    errno.ENOTDIR: "leads-out",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}  # ENOSPC also where inodes are used up
_BAD_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}


def names_in(directory: int) -> list[bytes]:
    """The names in an open directory, as it is now. Raises OSError."""
    return [name for name, _, _ in hot_path.entries_in(directory)]


def reason(error: OSError) -> str:
    """What the error means for what could not be read: one of the words of MessageUnavailable."""
    return _REASONS.get(error.errno or 0, "io-error")


def confirmed(error: OSError, base: int, path: bytes) -> OSError:
    """The error met at a path below an open directory, as far as it can be believed: a name that a second
    listing still has is not gone, whatever the file system says of it."""
    if error.errno != errno.ENOENT or not path:
        return error
    above, _, name = path.rpartition(b"/")
    try:
        with opened(base, split(above)) as directory:
            listed = name in names_in(directory)
    except OSError as of_above:
        return confirmed(of_above, base, above)
    return OSError(errno.EIO, "listed, and not found") if listed else error


def unavailable(error: OSError, name: bytes) -> MessageUnavailable:
    """The error of the port for something that can't be read."""
    return MessageUnavailable(f"{printable(name)}: {error.strerror}", reason=reason(error))


def unwritable(error: OSError, name: bytes) -> BackupError:
    """The error of the port for something that can't be written: a name that can't be used concerns only
    what bears it, everything else the whole mailbox."""
    if error.errno in _BAD_NAME:
        return MessageUnavailable(f"{printable(name)}: {error.strerror}", reason="io-error")
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        message = f"{printable(name)}: a link, or a file, stands where a directory should be"
        return MessageUnavailable(message, reason="leads-out")
    return refused(error, printable(name))


def is_full(error: OSError) -> bool:
    """Whether a file system has no room for more: what it has refused it will refuse to others, too."""
    return error.errno in _FULL


def refused(error: OSError, what: str) -> StoreError:
    """The error of the port for something that concerns a mailbox as a whole, or all of them."""
    message = f"{what}: {error.strerror}"
    return TargetFullError(message, errno=error.errno) if is_full(error) else StoreError(message)


def checked_name(name: bytes) -> bytes:
    """A name that can stand in a directory. Raises MessageUnavailable (``leads-out``) for any other."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise MessageUnavailable(f"{printable(name)!r} can't be the name of a file", reason="leads-out")
    return name


@lru_cache(maxsize=1024)  # folders are called alike in most mailboxes
def split(path: bytes) -> tuple[bytes, ...]:
    """The names that a relative path is made of; none for ``b""``. Raises MessageUnavailable
    (``leads-out``) if one of them is empty, ``.``, ``..`` or holds a NUL byte."""
    return tuple(checked_name(name) for name in path.split(b"/")) if path else ()


def open_directory(path: bytes) -> int:
    """Open a directory that an administrator named: links on the way are followed. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def descend(start: int, names: tuple[bytes, ...]) -> int:
    """Open a directory below another one, following no link. The caller closes it. Raises OSError."""
    return _descend(start, names, lambda above, name: os.open(name, _DIRECTORY, dir_fd=above))


def descend_making(start: int, names: tuple[bytes, ...], mode: int) -> int:
    """As ``descend``; makes the directories that are missing."""

    def opened_or_made(above: int, name: bytes) -> int:
        try:
            return os.open(name, _DIRECTORY, dir_fd=above)
        except FileNotFoundError:
            make_directory(above, name, mode)
            return os.open(name, _DIRECTORY, dir_fd=above)

    return _descend(start, names, opened_or_made)


def _descend(start: int, names: tuple[bytes, ...], step: Callable[[int, bytes], int]) -> int:
    if not names:
        return os.dup(start)
    fd = step(start, names[0])
    for name in names[1:]:
        above = fd
        try:
            fd = step(above, name)
        finally:
            os.close(above)
    return fd


def make_directory(parent: int, name: bytes, mode: int) -> bool:
    """Make a directory; False if the name was there already. Raises OSError."""
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        return False
    return True


@contextmanager
def opened(start: int, names: tuple[bytes, ...]) -> Iterator[int]:
    """``descend``, closed at the end."""
    fd = descend(start, names)
    try:
        yield fd
    finally:
        os.close(fd)


def exists(parent: int, name: bytes) -> bool:
    """Whether the name stands for anything, a dangling link too. Raises OSError."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_directory(parent: int, name: bytes) -> bool:
    """Whether the name stands for a directory, not for a link to one."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def is_maildir(fd: int) -> bool:
    """Whether a directory is a Maildir (the mailbox itself, or one folder of it)."""
    return is_directory(fd, b"cur") or is_directory(fd, b"new")


def is_mailbox(fd: int) -> bool:
    """Whether a directory is a mailbox: a Maildir, or one whose folders, the INBOX too, lie below it (as with
    ``INBOX=`` elsewhere, or ``DIRNAME=``). Raises OSError."""
    names = names_in(fd)
    if is_maildir(fd) or any(
        name.startswith(b"dovecot") or is_directory(fd, name + b"/cur") for name in names
    ):
        return True
    return any(_holds_folder(fd, name) for name in names)


def _holds_folder(fd: int, name: bytes) -> bool:
    try:
        with opened(fd, (name,)) as below:
            return any(is_directory(below, name + b"/cur") for name in names_in(below))
    except OSError:
        return False


def ownership(status: os.stat_result) -> Ownership:
    """Mode and owners, as the records have them."""
    return owned_by(status.st_mode, status.st_uid, status.st_gid)


@lru_cache(maxsize=256)
def owned_by(mode: int, uid: int, gid: int) -> Ownership:
    """The same, from what a status has."""
    return Ownership(stat.S_IMODE(mode), uid, gid)


def described(
    path: bytes, status: os.stat_result, kind: DirectoryKind, attributes: Attributes = ()
) -> Directory:
    """The record of a directory (or of a file that a store keeps beside its messages)."""
    return Directory(path, ownership(status), status.st_mtime_ns, kind, attributes)


def joined(parent: bytes, name: bytes) -> bytes:
    """The path of a name in a directory whose own path may be empty."""
    return parent + b"/" + name if parent else name
