"""The uploads that were begun, on the disk of this host, so that none is forgotten: what was sent of one that
was never completed lies at the destination, unseen and paid for.

An upload is a file ``TOKEN.upload`` of lines: what it is for, as JSON, and then its id. Who uploads holds
a lock on it, which ends with the process; a file whose lock can be had tells of an orphan.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ....proto.directories import make_private, sync_directory
from ....proto.errors import StagingError

_SUFFIX = ".upload"
_NEW = ".new"


class Upload:
    """One upload that was begun. ``id`` is empty as long as the server has not told it, or that is not on the
    disk."""

    def __init__(self, path: Path, fd: int, name: str, token: str, upload_id: str = "") -> None:
        self.name = name
        self.token = token
        self.id = upload_id
        self._path = path
        self._fd = fd

    def record(self, upload_id: str) -> None:
        """The server has told its id; durable when this returns."""
        self.id = upload_id
        _append(self._fd, upload_id, self._path)

    def end(self) -> None:
        """It was completed, or given up: there is nothing more to do about it."""
        self._path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Somebody has to look after it later. Repeatable."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Uploads:
    """Those in one directory, of one destination. Raises StagingError where it can't be written."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def begin(self, name: str, token: str) -> Upload:
        """Write down what is going to be uploaded, before the server is told."""
        path = self._directory / f"{token}{_SUFFIX}"
        new = path.with_suffix(_NEW)
        try:
            make_private(self._directory)
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            _append(fd, json.dumps({"name": name, "token": token}), path)
            new.rename(path)
            sync_directory(self._directory)
        except OSError as error:
            raise StagingError(f"{path}: {error.strerror}") from error
        return Upload(path, fd, name, token)

    def orphans(self) -> Iterator[Upload]:
        """Those that nobody looks after any more; they are the caller's now."""
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            found = _taken(path)
            if found is not None:
                yield found

    def known_ids(self) -> frozenset[str]:
        """The ids of all that are written down, also those that somebody works at."""
        read = (_read(path) for path in self._directory.glob(f"*{_SUFFIX}"))
        return frozenset(upload_id for _, _, upload_id in read if upload_id)


def _append(fd: int, line: str, path: Path) -> None:
    try:
        os.write(fd, line.encode() + b"\n")
        os.fsync(fd)
    except OSError as error:
        raise StagingError(f"{path}: {error.strerror}") from error


def _taken(path: Path) -> Upload | None:
    """The upload of a file whose lock can be had."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        left = os.fstat(fd).st_nlink
    except OSError:
        left = 0
    name, token, upload_id = _read(path)
    if not left or not name:
        os.close(fd)
        return None
    return Upload(path, fd, name, token, upload_id)


def _read(path: Path) -> tuple[str, str, str]:
    """Name, token and id, empty where they are not whole lines."""
    try:
        first, *rest = path.read_bytes().split(b"\n")
        told = json.loads(first)
        return str(told["name"]), str(told["token"]), rest[0].decode() if len(rest) > 1 else ""
    except (OSError, ValueError, KeyError, TypeError):
        return "", "", ""
