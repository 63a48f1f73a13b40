"""Where a tar archive goes: into a new file, or to the standard output."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from typing import BinaryIO, Protocol

from ..stores.directories import open_directory
from ..stores.scaffold import Scaffold, link_new, make_durable, remove_abandoned

STDOUT = "-"
"""As a path: the standard output."""

_ABOVE_MODE = 0o755
_FILE_MODE = 0o600
_BUFFER_BYTES = 1 << 20


class Output(Protocol):
    """``takes_back`` says whether ``file`` can be cut off at an earlier position."""

    file: BinaryIO
    takes_back: bool

    def written(self) -> BinaryIO | None:
        """All that was written, open for reading; None for what has been sent. Raises OSError."""

    def publish(self) -> None:
        """All is written: make it durable, then visible. Raises OSError."""

    def close(self) -> None:
        """Let go; what is not published is gone. Repeatable."""


def open_output(path: str) -> Output:
    """Raises OSError."""
    return _Stdout() if path == STDOUT else _NewFile(path)


class _Stdout:
    takes_back = False

    def __init__(self) -> None:
        self.file: BinaryIO = sys.stdout.buffer

    def written(self) -> BinaryIO | None:
        return None

    def publish(self) -> None:
        pass

    def close(self) -> None:
        pass


class _NewFile:
    """It gets its name when it is whole, and takes nobody else's."""

    takes_back = True

    def __init__(self, path: str) -> None:
        above, self._name = os.path.split(os.fsencode(path))
        with ExitStack() as stack:
            os.makedirs(above, _ABOVE_MODE, exist_ok=True)
            self._parent = open_directory(above)
            stack.callback(os.close, self._parent)
            remove_abandoned(self._parent)
            self._scaffold = Scaffold(self._parent)
            stack.callback(self._scaffold.remove)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._name, flags, _FILE_MODE, dir_fd=self._scaffold.top)
            self.file: BinaryIO = os.fdopen(fd, "wb", _BUFFER_BYTES)
            self._stack = stack.pop_all()

    def written(self) -> BinaryIO | None:
        self.file.flush()
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self._name, flags, dir_fd=self._scaffold.top), "rb")

    def publish(self) -> None:
        self.file.close()
        make_durable(self._scaffold.top, self._name)
        link_new(self._scaffold.top, self._name, self._parent, self._name)
        os.fsync(self._parent)

    def close(self) -> None:
        # What can't be written any more is removed in any case.
        with suppress(OSError):
            self.file.close()
        self._stack.close()
