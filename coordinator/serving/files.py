"""What lies in ``.mailhaul/operations`` of a staging area, beside the records of the queue: for each
operation its lock, how far it is, what it printed, and the files that it was given (``given_files``). All of
it is bounded, and goes with time; nothing relies on it but who asks whether an operation's process is alive,
and that process.
"""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...proto.directories import make_private
from ...proto.errors import LockedError, StagingError
from ..flocks import flocked

KEPT = 1000
"""The files of so many operations are kept, the newest."""

MOST_OUTPUT_BYTES = 16 << 20
"""An operation that prints more has no output: half a document is none."""

MOST_STDERR_BYTES = 64 << 10
"""Of what an operation says on its way, so much is kept, the last."""

_LOCK_SECONDS = 1.0
"""Those who only ask whether it is held let go of it at once."""

_FILE = re.compile(r"([0-9]+)\.(?:lock|json|out|err|given-[a-z_]+)(?:\.[0-9]+)?")


def place(staging: Path) -> Path:
    """The directory."""
    return staging / ".mailhaul" / "operations"


def file_of(staging: Path, number: int, kind: str) -> Path:
    """A file of an operation: ``lock``, ``json``, ``out`` or ``err``."""
    return place(staging) / f"{number}.{kind}"


@contextmanager
def carrying_out(staging: Path, number: int) -> Iterator[None]:
    """While the context lasts, this process is the one that carries an operation out. Raises LockedError if
    another does, StagingError."""
    with flocked(
        file_of(staging, number, "lock"),
        f"operation {number} is being carried out",
        patience_seconds=_LOCK_SECONDS,
    ):
        yield


def is_carried_out(staging: Path, number: int) -> bool:
    """Whether a process does that now. Raises StagingError."""
    path = file_of(staging, number, "lock")
    if not path.exists():
        return False
    try:
        with flocked(path, "", shared=True, patience_seconds=0):
            return False
    except LockedError:
        return True


def open_stderr(staging: Path, number: int) -> int:
    """A descriptor that appends to what an operation says on its way. Raises StagingError."""
    return _opened(file_of(staging, number, "err"), os.O_APPEND)


def open_output(staging: Path, number: int) -> int:
    """A descriptor of the output of an operation, which is empty again. Raises StagingError."""
    return _opened(file_of(staging, number, "out"), os.O_TRUNC)


def read_output(staging: Path, number: int) -> bytes | None:
    """What an operation printed; None where it has printed nothing, or too much."""
    with suppress(OSError):
        return file_of(staging, number, "out").read_bytes() or None
    return None


def read_stderr(staging: Path, number: int) -> str:
    """What an operation said last."""
    with suppress(OSError):
        return file_of(staging, number, "err").read_bytes()[-MOST_STDERR_BYTES:].decode(errors="replace")
    return ""


def forget_old(staging: Path, newest: int, standing: Collection[int] = ()) -> None:
    """Remove the files of operations, of which ``newest`` is the newest, that are too many; none of those
    that are ``standing``, however old: without its lock one under way would be taken for dead, and begun
    once more beside itself. What can't be removed stays."""
    with suppress(OSError), os.scandir(place(staging)) as found:
        for one in found:
            name = _FILE.fullmatch(one.name)
            if name and int(name[1]) <= newest - KEPT and int(name[1]) not in standing:
                with suppress(OSError):
                    os.unlink(one.path)


def forget(staging: Path, number: int) -> None:
    """Remove what an operation has printed and said, and how far it is. Raises StagingError."""
    for kind in ("json", "out", "err"):
        path = file_of(staging, number, kind)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StagingError(f"{path}: can't be removed: {error.strerror}", path=str(path)) from error


def _opened(path: Path, how: int) -> int:
    try:
        make_private(path.parent)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o600)
    except OSError as error:
        raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error


class Output(io.RawIOBase):
    """A file that is emptied, and stays so, when more is written than ``most_bytes``. Closes its
    descriptor."""

    def __init__(self, descriptor: int, most_bytes: int = MOST_OUTPUT_BYTES) -> None:
        self._descriptor = descriptor
        self._left = most_bytes

    def writable(self) -> bool:
        """See RawIOBase."""
        return True

    def write(self, data: object) -> int:
        """See RawIOBase."""
        piece = bytes(data)  # type: ignore[call-overload]
        self._left -= len(piece)
        if self._left >= 0:
            _write_all(self._descriptor, piece)
        else:
            os.ftruncate(self._descriptor, 0)
        return len(piece)

    def close(self) -> None:
        """See RawIOBase."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class Said(io.RawIOBase):
    """A file that keeps the last bytes written to it, between once and twice ``most_bytes``. ``lines`` are
    the last of them. Others may append to the file meanwhile. Closes its descriptor, which appends."""

    def __init__(self, path: Path, descriptor: int, most_bytes: int = MOST_STDERR_BYTES) -> None:
        self._path = path
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self._begun = b""
        self.lines: deque[str] = deque(maxlen=5)

    def writable(self) -> bool:
        """See RawIOBase."""
        return True

    def write(self, data: object) -> int:
        """See RawIOBase."""
        piece = bytes(data)  # type: ignore[call-overload]
        if os.fstat(self._descriptor).st_size > 2 * self._most_bytes:
            with suppress(OSError):
                kept = self._path.read_bytes()[-self._most_bytes :]
                os.ftruncate(self._descriptor, 0)
                _write_all(self._descriptor, kept)
        _write_all(self._descriptor, piece)
        *lines, begun = (self._begun + piece).split(b"\n")
        self._begun = begun[-self._most_bytes :]
        self.lines.extend(line.decode(errors="replace") for line in lines if line.strip())
        return len(piece)

    def close(self) -> None:
        """See RawIOBase."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def _write_all(descriptor: int, data: bytes) -> None:
    """What can't be written (a full disk) is lost: what is printed is worth less than what is done."""
    left = memoryview(data)
    with suppress(OSError):
        while left:
            left = left[os.write(descriptor, left) :]
