"""Small files that must not be lost, overwritten, or read by others: keys and secrets."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import AccessError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@contextmanager
def new_file(path: Path, mode: int) -> Iterator[Callable[[bytes], object]]:
    """Make a file that must not exist yet; yields what writes it. Durable when the context ends, but for its
    name (``sync_directory``), and gone if it ends with an exception. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask is
            yield file.write
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def read_small(path: Path, most_bytes: int, *, secret: bool) -> bytes:
    """The content of a regular file of at most ``most_bytes``.

    Raises AccessError if it can't be read, is longer, or, for a ``secret``, lies open to others.
    """
    data, mode = read_with_mode(path, most_bytes)
    if secret and lies_open(mode):
        raise AccessError(
            f"{path}: others may read or write this secret (mode {mode:04o}). "
            f"Replace it if they may have done so, and in any case: chmod 600 {path}",
            path=str(path),
        )
    return data


def lies_open(mode: int) -> bool:
    """Whether others than its owner may read or write a file with this mode."""
    return bool(mode & _OTHERS)


def read_with_mode(path: Path, most_bytes: int) -> tuple[bytes, int]:
    """The content of a regular file of at most ``most_bytes``, and its mode, whatever that is. Raises
    AccessError if it can't be read, or is longer."""
    try:
        # Not blocking: a FIFO in the place of a key must not stop the program.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise AccessError(f"{path}: is no regular file", path=str(path))
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise AccessError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    if len(data) > most_bytes:
        raise AccessError(f"{path}: is longer than {most_bytes} bytes", path=str(path))
    return data, stat.S_IMODE(mode)
