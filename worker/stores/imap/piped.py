"""A mail server that is a child process and speaks over its input and output, already logged in: nobody else
on the host can reach it, and it needs no port and no password."""

from __future__ import annotations

import imaplib
import io
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

from ....proto.errors import StoreError

_SILENCE_SECONDS = 120.0
_LEAVE_SECONDS = 5.0


class _Answers(io.RawIOBase):
    """What a process says. Raises TimeoutError if that is nothing for too long."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader gives
        if not select.select([self._descriptor], [], [], _SILENCE_SECONDS)[0]:
            raise TimeoutError("the server does not answer any more")
        data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Piped(imaplib.IMAP4):
    """IMAP with a process. (A socket would not do: Dovecot takes itself to be started by inetd then.)"""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 (pipes)
        self._questions: IO[bytes] = process.stdin
        self._answers = io.BufferedReader(_Answers(process.stdout.fileno()))
        super().__init__()

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        """There is nothing to be opened."""

    def read(self, size: int) -> bytes:
        return self._answers.read(size)

    def readline(self) -> bytes:
        return self._answers.readline()

    def send(self, data: bytes) -> None:  # type: ignore[override] # of any buffer, there
        self._questions.write(data)
        self._questions.flush()

    def shutdown(self) -> None:
        with suppress(OSError):
            self._questions.close()


class _PipedClient(IMAPClient):  # type: ignore[misc] # untyped
    """imapclient with a process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        super().__init__("", ssl=False)

    def _create_IMAP4(self) -> imaplib.IMAP4:
        return _Piped(self._process)

    def _set_read_timeout(self) -> None:
        """It is that of ``_Answers``."""


@contextmanager
def piped_server(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path
) -> Iterator[IMAPClient]:
    """Start a server in a directory, and what it complains of is in ``log``; it is ended with the context.
    Raises StoreError if it does not answer."""
    try:
        with log.open("ab") as complaints:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,
            )
    except OSError as error:
        raise StoreError(f"{command[0]}: {error.strerror}") from error
    with process:
        try:
            try:
                client = _PipedClient(process)
            except (IMAPClientError, imaplib.IMAP4.error, OSError) as error:
                raise StoreError(f"{command[0]} does not begin to speak IMAP: {error}") from error
            yield client
            with suppress(IMAPClientError, imaplib.IMAP4.error, OSError):
                client.logout()
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(_LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
