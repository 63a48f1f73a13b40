"""The directory of one mailbox: built beside its place, and put there when all that is in it is durable.

Nothing in a directory that is there is overwritten. A file that gets more is replaced by one that begins with
all that it held.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import ExitStack
from typing import BinaryIO

from ...groups.paths import printable
from ...proto.errors import StoreError
from ..stores.directories import (
    descend,
    descend_making,
    exists,
    is_full,
    joined,
    open_directory,
    opened,
    refused,
)
from ..stores.location import Location
from ..stores.opened import FileOpener
from ..stores.scaffold import Scaffold, remove_abandoned

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_ABOVE_MODE = 0o755
_BUFFER_BYTES = 1 << 20

Path = tuple[bytes, ...]
"""The names below the directory of the mailbox."""


class StagedMailbox:
    """``location`` is where it will be. Raises OSError if it can't be built there. ``tidy`` removes what
    killed processes have left beside it."""

    def __init__(self, location: Location, *, tidy: bool) -> None:
        anchor, above = location.parent()
        self._name = location.name
        self._grown: dict[tuple[Path, bytes], os.stat_result] = {}
        with ExitStack() as stack:
            os.makedirs(anchor, _ABOVE_MODE, exist_ok=True)
            start = open_directory(anchor)
            stack.callback(os.close, start)
            self._parent = descend_making(start, above, _DIRECTORY_MODE)
            stack.callback(os.close, self._parent)
            if tidy:
                remove_abandoned(self._parent)
            self._there = -1
            if exists(self._parent, self._name):
                self._there = descend(self._parent, (self._name,))
                stack.callback(os.close, self._there)
            self._scaffold = Scaffold(self._parent)
            stack.callback(self._scaffold.remove)
            self._stack = stack.pop_all()

    def directory(self, path: Path) -> int:
        """A directory that is being built, opened; made, if it is not there. Raises OSError."""
        return descend_making(self._scaffold.top, path, _DIRECTORY_MODE)

    def there(self, path: Path) -> int:
        """The same directory as it is where the mailbox is to be, opened; -1 if there is none. Raises
        OSError."""
        if self._there < 0:
            return -1
        try:
            return descend(self._there, path)
        except FileNotFoundError:
            return -1

    def grow(self, path: Path, name: bytes) -> BinaryIO:
        """A file that is being built, open for writing at its end: it begins with what the file of this name
        holds, if it is there. Raises OSError, MessageUnavailable for what is no file."""
        with ExitStack() as stack:
            directory = self.directory(path)
            stack.callback(os.close, directory)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.fdopen(os.open(name, flags, _FILE_MODE, dir_fd=directory), "w+b", _BUFFER_BYTES)
            stack.callback(file.close)
            if before := self.open_there(path, name):
                with before:
                    status = os.fstat(before.fileno())
                    shutil.copyfileobj(before, file, _BUFFER_BYTES)
                os.fchmod(file.fileno(), status.st_mode & 0o777)
                try:
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                except OSError as error:
                    if is_full(error):  # the quota of its owner
                        raise
                self._grown[path, name] = status
            stack.pop_all()
            os.close(directory)
        return file

    def open_there(self, path: Path, name: bytes) -> BinaryIO | None:
        """A file as it is where the mailbox is to be, open for reading; None if there is none. Raises
        OSError, MessageUnavailable for what is no file."""
        directory = self.there(path)
        if directory < 0:
            return None
        try:
            fd, _ = FileOpener().open_regular(directory, name)
            return os.fdopen(fd, "rb", _BUFFER_BYTES)
        except FileNotFoundError:
            return None
        finally:
            os.close(directory)

    def commit(self) -> None:
        """Put all of it into place; from then on that is what is ``there``, and nothing else is left. Raises
        StoreError."""
        kept: list[bytes] = []
        try:
            self._scaffold.sync()
            if self._there >= 0 or not self._become():
                for (path, name), before in self._grown.items():
                    self._replace(path, name, before)
                self._scaffold.merge(self._there, kept.append)
        except OSError as error:
            raise refused(error, f"{printable(self._name)} can't be put in place") from error
        self._scaffold.remove()
        if kept:
            raise StoreError(f"{printable(kept[0])} came into being meanwhile and is left as it is")

    def close(self) -> None:
        """Remove what was not put into place. Repeatable."""
        self._stack.close()

    def _become(self) -> bool:
        try:
            self._scaffold.become(self._parent, self._name)
            became = True
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            became = False  # somebody made it meanwhile
        self._there = descend(self._parent, (self._name,))
        self._stack.callback(os.close, self._there)
        return became

    def _replace(self, path: Path, name: bytes, before: os.stat_result) -> None:
        with opened(self._scaffold.top, path) as source, opened(self._there, path) as target:
            now = os.stat(name, dir_fd=target, follow_symlinks=False)
            if _identity(now) != _identity(before):
                raise StoreError(f"{printable(joined(b'/'.join(path), name))} was changed meanwhile")
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
