"""Sources of bytes for the tests of places; and a process that is killed while it puts one of them:
``python -m mailhaul.tests.contract.putting``, with pickled settings, name, size and the place of its end on
standard input.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

from mailhaul.worker.destinations.registry import open_destination
from mailhaul.worker.destinations.settings import Destination


class Pattern:
    """A RandomAccess over bytes that nobody holds in memory; of another ``salt`` they are others."""

    name = "pattern"
    _LINE = 509  # no power of two, so that pieces that change places are seen

    def __init__(self, size: int, salt: bytes = b"") -> None:
        self.size = size
        line = (salt + bytes(range(256)) * 2)[: self._LINE]
        self._block = line * 4096

    def read_at(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        parts = []
        while length:
            begin = offset % len(self._block)
            part = self._block[begin : begin + length]
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        pass


class Failing(Pattern):
    """One that raises when what lies at an offset is read."""

    def __init__(self, size: int, at: int, error: BaseException) -> None:
        super().__init__(size)
        self._at = at
        self._error = error

    def read_at(self, offset: int, length: int) -> bytes:
        if offset <= self._at < offset + length:
            raise self._error
        return super().read_at(offset, length)


class Deadly(Pattern):
    """One that kills the process when what lies at an offset is read."""

    def __init__(self, size: int, at: int) -> None:
        super().__init__(size)
        self._at = at

    def read_at(self, offset: int, length: int) -> bytes:
        if offset <= self._at < offset + length:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_at(offset, length)


def killed_while_putting(settings: Destination, name: str, size: int, at: int) -> None:
    """Put in a process that is killed when it reads what lies at an offset; at ``size``, when all was
    read and is copied."""
    done = subprocess.run(
        [sys.executable, "-m", "mailhaul.tests.contract.putting"],
        input=pickle.dumps((settings, name, size, at)),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def main() -> None:
    settings, name, size, at = pickle.load(sys.stdin.buffer)
    copied = [0]

    def on_bytes(count: int) -> None:
        copied[0] += count
        if copied[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)

    open_destination(settings).put(name, Deadly(size, at), on_bytes=on_bytes)


if __name__ == "__main__":
    main()
