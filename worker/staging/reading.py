"""Reading archives of the staging area for other hosts: who may read what, and the reading itself."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ...proto.errors import AccessError, BackupError, DamagedError, NotFoundError, StagingError
from ...proto.structs import Record
from ...proto.wire.envelopes import Bytes, Envelope, Find, Found, Read
from ...proto.wire.grants import Grant
from ..archives.names import readable_path
from .flow import refusal
from .partial import partial_path

MOST_REQUESTS = 16
"""So many requests of one client are worked on at a time; one more is refused, and may come again."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Request(Record):
    """What a client wants to know of a file. ``epoch`` is that of its own attempt at writing the file, whose
    draft it may read too; -1 where it has none."""

    client: bytes
    asked: Find | Read
    epoch: int = -1


class Answer(Record):
    """The answer to a request; or to a question to the coordinator, about operations."""

    client: bytes
    envelope: Envelope
    payload: bytes = b""
    about_operations: bool = False


class OpenRequests:
    """How many requests of each client are worked on."""

    def __init__(self) -> None:
        self._open: dict[bytes, int] = {}

    def admit(self, client: bytes, asked: Find | Read, grant: Grant) -> Request:
        """A request that is worked on until ``answered`` is told. Raises AccessError if the grant does not
        fit it, StagingError if there are too many."""
        if grant.file != asked.file and (grant.kind, grant.file) != ("read", ""):
            raise AccessError("the grant is not one for this file")
        if self._open.get(client, 0) >= MOST_REQUESTS:
            raise StagingError(f"there are {MOST_REQUESTS} requests already that wait for an answer")
        self._open[client] = self._open.get(client, 0) + 1
        return Request(client, asked, grant.epoch if grant.kind == "write" else -1)

    def answered(self, client: bytes) -> None:
        """One of them has got its answer."""
        left = self._open.get(client, 1) - 1
        if left > 0:
            self._open[client] = left
        else:
            self._open.pop(client, None)


def answer(area: Path, request: Request) -> Answer:
    """Look it up, or read it. Never raises."""
    asked = request.asked
    try:
        if isinstance(asked, Find):
            return Answer(request.client, Found(asked.request, _size(area, asked.file)))
        data = _read(area, asked, request.epoch)
        return Answer(request.client, Bytes(asked.request, asked.offset), data)
    except BackupError as error:
        return Answer(request.client, refusal("request", asked.request, error))


def _size(area: Path, file: str) -> int:
    descriptor = _open(readable_path(area, file), file)
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _read(area: Path, asked: Read, epoch: int) -> bytes:
    path = readable_path(area, asked.file)
    try:
        descriptor = _open(path, asked.file)
    except NotFoundError:
        if epoch < 0:
            raise
        descriptor = _open(partial_path(path, epoch), asked.file)
    try:
        return os.pread(descriptor, asked.length, asked.offset)
    except OSError as error:
        # As LocalFile tells it: the bytes are lost, and who can do without them goes on.
        where = f"{asked.file}: {error.strerror} at {asked.offset}"
        raise DamagedError(where, reason="io-error", errno=error.errno) from error
    finally:
        os.close(descriptor)


def _open(path: Path, file: str) -> int:
    """A regular file, which is not reached over a symbolic link."""
    try:
        descriptor = os.open(path, _FLAGS | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no archive {file}", file=file) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise AccessError(f"{file} is a symbolic link", file=file) from error
        raise StagingError(f"{file}: {error.strerror}", errno=error.errno) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AccessError(f"{file} is no regular file", file=file)
    return descriptor
