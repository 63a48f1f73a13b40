"""A program that is fed or read through a pipe: in bounded time, with what it says kept for the error."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Literal

from ...proto.errors import AccessError, PlaceError, PlaceUnavailableError

_SAID_BYTES = 2000
"""So much of the end of what a program says is kept."""
_PIECE_BYTES = 1 << 18
_LOOK_SECONDS = 0.2


class Program:
    """A running program: either all of its input is given (``feed``), or its output is taken (``read``). As a
    context it ends with that, and so does whatever it has started.

    ``subject`` begins the message of errors: PlaceUnavailableError when it fails, or when no byte goes
    through for ``limit_seconds``; PlaceError or AccessError when it can't be started.
    """

    def __init__(
        self, subject: str, words: Sequence[str], mode: Literal["feed", "read"], limit_seconds: float
    ) -> None:
        self._subject = subject
        self._limit_seconds = limit_seconds
        self._said = bytearray()
        feed = mode == "feed"
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if feed else subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            kind = AccessError if isinstance(error, PermissionError) else PlaceError
            raise kind(f"{subject}: {words[0]}: {error.strerror}", program=words[0]) from error
        pipe = self._process.stdin if feed else self._process.stdout
        said = self._process.stdout if feed else self._process.stderr
        if pipe is None or said is None:
            raise AssertionError("both are pipes")
        self._pipe, self._told = pipe.fileno(), said.fileno()
        os.set_blocking(self._pipe, False)
        os.set_blocking(self._told, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._told, selectors.EVENT_READ)
        self._selector.register(self._pipe, selectors.EVENT_WRITE if feed else selectors.EVENT_READ)

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def feed(self, data: bytes) -> None:
        """Give it these bytes. One that does not take them has failed."""
        view = memoryview(data)
        while view:
            self._wait_for_pipe()
            try:
                view = view[os.write(self._pipe, view[:_PIECE_BYTES]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                self.finish()
                raise self._failed("it ended before it had read all") from None

    def read(self, size: int) -> bytes:
        """The next bytes that it writes, at most so many; b"" at the end, and then it ended well."""
        while True:
            self._wait_for_pipe()
            try:
                data = os.read(self._pipe, size)
            except BlockingIOError:
                continue
            if not data:
                self.finish()
            return data

    def finish(self) -> None:
        """There is no more for it to read: wait for its end, which is a good one or raised."""
        if self._process.stdin is not None:
            self._unregister(self._pipe)
            self._process.stdin.close()
        until = time.monotonic() + self._limit_seconds
        while self._process.poll() is None:
            if time.monotonic() >= until:
                raise self._stuck()
            if self._told in self._selector.get_map():
                self._listen(self._selector.select(_LOOK_SECONDS))
            else:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_LOOK_SECONDS)
        self._listen(self._selector.select(0))
        if self._process.returncode:
            raise self._failed(f"it ended with {_status(self._process.returncode)}")

    def close(self) -> None:
        """End it, if it has not ended. Repeatable."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _wait_for_pipe(self) -> None:
        until = time.monotonic() + self._limit_seconds
        while True:
            ready = self._selector.select(_LOOK_SECONDS)
            self._listen(ready)
            if any(key.fd == self._pipe for key, _ in ready):
                return
            if time.monotonic() >= until:
                raise self._stuck()

    def _listen(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> None:
        """Keep the end of what it says."""
        if any(key.fd == self._told for key, _ in ready):
            with suppress(BlockingIOError):
                data = os.read(self._told, _PIECE_BYTES)
                if not data:
                    self._unregister(self._told)
                self._said += data
                del self._said[:-_SAID_BYTES]

    def _unregister(self, fd: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    def _stuck(self) -> PlaceUnavailableError:
        return self._failed(f"nothing went through for {self._limit_seconds:g} seconds")

    def _failed(self, why: str) -> PlaceUnavailableError:
        said = self._said.decode(errors="replace").strip()
        printable = "".join(one if one.isprintable() or one == "\n" else "?" for one in said)
        told = f", and said: {printable}" if said else ""
        return PlaceUnavailableError(f"{self._subject}: {why}{told}", output=printable)


def _status(code: int) -> str:
    return f"exit status {code}" if code > 0 else f"signal {-code}"
