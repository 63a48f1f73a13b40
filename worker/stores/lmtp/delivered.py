"""What was delivered to a user, in writing: a server that takes mail over LMTP can't be asked what it has.

One file for each user, one line of JSON for each step of a message: ``sent`` before its end goes out, then
``done`` or ``refused``. Lines are written at once and made durable now and then: where the power fails, what
was delivered in the last second may be delivered once more.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ....groups.paths import printable
from ....proto.errors import StoreError
from ....proto.records import Message
from ...exports.file_names import safe_name

State = Literal["", "sent", "done", "refused"]

SYNC_SECONDS = 1.0
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700


class Delivered:
    """``directory`` is made if it is not there; others who deliver to the same user wait. Raises
    StoreError."""

    def __init__(self, directory: str, user: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        # No two users share a name, and none leads elsewhere.
        self._path = Path(directory, f"{safe_name(user).decode()}.jsonl")
        self._states: dict[tuple[str, str], State] = {}
        self._monotonic = monotonic
        self._synced = monotonic()
        try:
            self._path.parent.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, _FILE_MODE)
        except OSError as error:
            raise self._failed(error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._read()
        except OSError as error:
            self.close()
            raise self._failed(error) from error

    def state(self, folder: str, message: Message) -> State:
        """How far a message has come; "" if nothing is written of it."""
        return self._states.get(_key(folder, message), "")

    def note(self, folder: str, message: Message, state: State) -> None:
        """Write it down. Raises StoreError; then nothing more is to be sent."""
        named, digest = key = _key(folder, message)
        line = json.dumps({"message": named, "digest": digest, "state": state}).encode() + b"\n"
        try:
            if os.write(self._fd, line) < len(line):
                raise OSError(28, "No space left on device")
            if (now := self._monotonic()) >= self._synced + SYNC_SECONDS:
                self._synced = now
                os.fdatasync(self._fd)
        except OSError as error:
            raise self._failed(error) from error
        self._states[key] = state

    def close(self) -> None:
        """Make it durable, let it go. Repeatable."""
        if self._fd >= 0:
            with suppress(OSError):
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        ended = True
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            for line in file:
                ended = line.endswith(b"\n")
                with suppress(ValueError, TypeError, KeyError):
                    told = json.loads(line)
                    self._states[told["message"], told["digest"]] = told["state"]
        if not ended:
            os.write(self._fd, b"\n")  # what follows a line that was cut is a line of its own

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(f"what was delivered can't be written down: {self._path}: {error.strerror}")


def _key(folder: str, message: Message) -> tuple[str, str]:
    named = str(message.uid) if message.uid else printable(message.base)
    return f"{printable(folder.encode('utf-8', 'surrogateescape'))}/{named}", message.digest.hex()
