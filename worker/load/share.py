"""The share of a host: how much of what they could do its workers do at present.

A small file that a governor renews about once a second, on the host itself or by way of a worker there, and
that each worker looks at while it works. Each governor, known by a name, has its own. A share that nobody
has renewed for a while is void, and so is that of an earlier boot: workers are not held back by somebody
who is gone.
"""

from __future__ import annotations

import math
import os
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path

from ...proto.errors import BackupError
from .shared import boot_id, check_ours, shared_file

VALID_SECONDS = 30.0
"""How long a share holds that is not renewed."""

LEAST_SHARE = 0.01
"""Nobody is ever held back further than this."""

LOOK_NS = 200_000_000
"""A worker looks at the file this often."""

_RECORD = struct.Struct("<16sqd")
"""The id of the boot, the moment until which it holds, in nanoseconds by CLOCK_MONOTONIC, and the share."""


def write_share(
    host: str,
    governor: str,
    share: float,
    valid_seconds: float = VALID_SECONDS,
    clock: Callable[[], int] = time.monotonic_ns,
) -> None:
    """Let the workers of this user on a host (which this is) have so much. Raises BackupError."""
    path = _file(host, governor)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    record = _RECORD.pack(boot_id(), clock() + round(valid_seconds * 1e9), share)
    try:
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, record)
        finally:
            os.close(file)
        partial.replace(path)  # nobody reads half of it
    except OSError as error:
        raise BackupError(
            f"{path}: the share of this host can't be written: {error.strerror}", path=str(path)
        ) from error


def drop_share(host: str, governor: str) -> None:
    """Nobody holds the workers on this host back any more. Repeatable. Raises BackupError."""
    path = _file(host, governor)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BackupError(f"{path} can't be removed: {error.strerror}", path=str(path)) from error


class Share:
    """What the workers on a host may have, as the file says that ``write_share`` makes."""

    def __init__(self, host: str, governor: str) -> None:
        """Raises BackupError."""
        self._path = _file(host, governor)
        self._boot = boot_id()
        self._next_look = 0
        self._share, self._until = 1.0, 0

    def at(self, now_ns: int) -> float:
        """The share at this moment by CLOCK_MONOTONIC: from LEAST_SHARE to 1, which is all. Raises
        BackupError for a file that is somebody else's."""
        if now_ns >= self._next_look:
            self._next_look = now_ns + LOOK_NS
            self._share, self._until = _read(self._path, self._boot)
        return self._share if now_ns < self._until else 1.0


def _file(host: str, governor: str) -> Path:
    return shared_file(host, f"{governor}.share")


def _read(path: Path, boot: bytes) -> tuple[float, int]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            check_ours(path, os.fstat(file), stat.S_IFREG)
            record = os.pread(file, _RECORD.size, 0)
        finally:
            os.close(file)
    except FileNotFoundError:
        return 1.0, 0
    except OSError as error:
        raise BackupError(
            f"{path}: the share of this host can't be read: {error.strerror}", path=str(path)
        ) from error
    if len(record) == _RECORD.size:
        of, until, share = _RECORD.unpack(record)
        if of == boot and not math.isnan(share):
            return min(1.0, max(LEAST_SHARE, share)), until
    return 1.0, 0
