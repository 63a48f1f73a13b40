"""Archives in the staging area of another host: written as a stream, read in pieces. Adapters of ArchiveSink
and RandomAccess over the connection to the receiver.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from ...proto.archive.draft import Draft, decode_draft, read_draft
from ...proto.errors import (
    AccessError,
    BackupError,
    DamagedError,
    NotFoundError,
    StagingError,
    UnsupportedError,
)
from ...proto.keys.records import NO_KEYS, Keyring
from ...proto.records import STAGING
from ...proto.wire.envelopes import Bytes, Find, Found, Read, Refused
from .connection import Answer, Connection, Line
from .flow import error_of
from .outgoing import OutgoingStream
from .pieces import Pieces


def _nobody(_waiting: str) -> None:
    """Nobody wants to know."""


def _nothing() -> None:
    """Nothing is to be done."""


class RemoteSink:
    """An archive that is streamed to the receiver. See ArchiveSink for what it promises.

    Holds what the receiver has not yet written, at most the window that it grants, and two batches; the
    first write behind a checkpoint waits until that mailbox is written. A lost connection comes back by
    itself, and nothing is lost by it. Beside what the port tells, methods raise
    LeaseLostError when the receiver was silent for too long, AccessError when it does not accept the key or
    the grant. ``on_wait`` is called, from within the methods, with what they wait for, and with "" when they
    go on; ``on_close`` when the sink needs the connection no more. ``path`` is the final name.
    """

    def __init__(
        self,
        connection: Connection,
        file: str,
        grant: bytes,
        path: str,
        *,
        on_wait: Callable[[str], object] = _nobody,
        on_close: Callable[[], object] = _nothing,
        keys: Keyring = NO_KEYS,
    ) -> None:
        self._keys = keys
        self._connection = connection
        self._file = file
        self._grant = grant
        self._path = path
        self._on_wait = on_wait
        self._on_close = on_close
        self._told = ""
        self._stream = OutgoingStream(connection, grant)
        self._written: RemoteFile | None = None
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """How much memory is taken by what the receiver has not written."""
        return self._stream.held_bytes

    def begin(self) -> Draft | None:
        """See ArchiveSink."""
        self._open(from_start=False)
        encoded, size = self._stream.draft, self._stream.size_bytes
        if not size:
            return None
        self._written = RemoteFile(self._connection, self._file, self._grant, self._path, size)
        try:
            draft = decode_draft(encoded, self._path, size) if encoded else self._read_draft(self._written)
        except (DamagedError, UnsupportedError):
            draft = None
        if draft is None:
            self._written.close()
            self._written = None
            self.restart()
        return draft

    def _read_draft(self, file: RemoteFile) -> Draft | None:
        """That of an encrypted archive, of which the receiver can't make it; None if it does not end where
        the receiver has cut it."""
        draft = read_draft(file, self._keys)
        return draft if draft is not None and draft.size_bytes == file.size else None

    @property
    def written(self) -> RemoteFile:
        """See ArchiveSink."""
        if self._written is None:
            raise StagingError(f"nothing was written to {self._path} before", path=self._path)
        return self._written

    def restart(self) -> None:
        """See ArchiveSink."""
        with self._connection.lock:
            self._stream.close()
        self._open(from_start=True)

    def _open(self, *, from_start: bool) -> None:
        with self._connection.lock:
            self._stream.open(from_start=from_start)
            self._wait(lambda: self._stream.is_open)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ArchiveSink."""
        with self._connection.lock:
            self._stream.check()
            # Of a worker that is killed no more than one mailbox is lost.
            self._wait(lambda: self._stream.is_mailbox_written)
            if self._stream.write(data):
                self._wait(lambda: self._stream.is_sent)

    def checkpoint(self) -> None:
        """See ArchiveSink."""
        with self._connection.lock:
            self._stream.check()
            self._stream.mark()

    def seal(self) -> str:
        """See ArchiveSink."""
        with self._connection.lock:
            self._stream.check()
            self._stream.seal()
            self._wait(lambda: self._stream.sealed)
        self.abort()
        return self._path

    def abort(self) -> None:
        """See ArchiveSink. Does not wait for the receiver."""
        if self._closed:
            return
        self._closed = True
        if self._written is not None:
            self._written.close()
        with self._connection.lock:
            self._stream.close()
        self._on_close()

    def _wait(self, is_done: Callable[[], bool]) -> None:
        try:
            while not is_done():
                self._stream.check()
                self._tell(self._stream.waiting)
                self._connection.turn()
        finally:
            self._tell("")

    def _tell(self, waiting: str) -> None:
        if waiting != self._told:
            self._told = waiting
            self._on_wait(waiting)


class RemoteFile(Line):
    """A file of the staging area, read in pieces that are fetched ahead. See RandomAccess; beside
    DamagedError, ``read_at`` raises LeaseLostError and AccessError, which say nothing about the file.

    To be used by one thread at a time.
    """

    def __init__(
        self,
        connection: Connection,
        file: str,
        grant: bytes,
        path: str,
        size: int,
    ) -> None:
        self.name = path
        self.size = size
        self._connection = connection
        self._file = file
        self._grant = grant
        self._pieces = Pieces(size)
        self._closed = False
        self._failure: BackupError | None = None
        with connection.lock:
            self._number = connection.new_number()
            connection.attach(self._number, self)

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        length = min(length, self.size - offset)
        if offset < 0 or length <= 0:
            return b""
        with self._connection.lock:
            self._failure = None
            self._pieces.need(offset, length)
            self._ask()
            while (data := self._pieces.read(offset, length)) is None:
                if self._failure is not None:
                    raise self._failure
                self._connection.turn()
        return data

    def close(self) -> None:
        """See RandomAccess."""
        if self._closed:
            return
        self._closed = True
        with self._connection.lock:
            self._connection.detach(self._number)

    def greeted(self) -> None:
        """See Line."""
        self._pieces.lost()
        self._ask()

    def answered(self, envelope: Answer, payload: memoryview) -> None:
        """See Line."""
        if isinstance(envelope, Refused):
            self.failed(_unreadable(self.name, envelope))
        elif isinstance(envelope, Bytes) and not self._pieces.arrived(envelope.offset, bytes(payload)):
            end = envelope.offset + len(payload)
            self.failed(DamagedError(f"{self.name}: the file ends at {end}", reason="io-error"))

    def failed(self, error: BackupError) -> None:
        """See Line."""
        self._pieces.lost()
        self._failure = error

    def beat(self) -> None:
        """See Line."""
        self._ask()

    def _ask(self) -> None:
        for offset, length in self._pieces.to_ask():
            if not self._connection.send(Read(self._number, self._grant, self._file, offset, length)):
                return
            self._pieces.asked(offset)


class ReceiverSource:
    """The sealed archives of a staging area, read through its receiver. See Source; ``open`` also raises
    LeaseLostError, AccessError, and StagingError if the receiver can't tell. ``on_close`` is called when it
    needs the connection no more."""

    name = STAGING

    def __init__(
        self,
        connection: Connection,
        grant: bytes,
        area: str,
        on_close: Callable[[], object] = _nothing,
    ) -> None:
        self._connection = connection
        self._grant = grant
        self._area = area
        self._on_close = on_close
        self._closed = False

    def open(self, name: str, _version: str = "") -> RemoteFile:
        """See Source."""
        path = os.path.join(self._area, name)
        size = _Search(self._connection, name, self._grant).size()
        if size is None:
            raise DamagedError(f"{path}: {os.strerror(errno.ENOENT)}", reason="missing")
        return RemoteFile(self._connection, name, self._grant, path, size)

    def close(self) -> None:
        """See Source."""
        if not self._closed:
            self._closed = True
            self._on_close()


class _Search(Line):
    """Asks for an archive until there is an answer."""

    def __init__(self, connection: Connection, file: str, grant: bytes) -> None:
        self._connection = connection
        self._file = file
        self._grant = grant
        self._number = -1
        self._asked = False
        self._answer: Found | BackupError | None = None

    def size(self) -> int | None:
        """Its size, or None if there is no such archive."""
        with self._connection.lock:
            self._number = self._connection.new_number()
            self._connection.attach(self._number, self)
            try:
                while (answer := self._answer) is None:
                    self._connection.turn()
            finally:
                self._connection.detach(self._number)
        if isinstance(answer, Found):
            return answer.size
        if isinstance(answer, NotFoundError):
            return None
        raise answer

    def greeted(self) -> None:
        """See Line."""
        self._asked = self._connection.send(Find(self._number, self._grant, self._file))

    def beat(self) -> None:
        """See Line."""
        if not self._asked:
            self.greeted()

    def answered(self, envelope: Answer, _payload: memoryview) -> None:
        """See Line."""
        if isinstance(envelope, Refused):
            self._answer = error_of(envelope)
        elif isinstance(envelope, Found):
            self._answer = envelope

    def failed(self, error: BackupError) -> None:
        """See Line."""
        self._answer = error


def _unreadable(name: str, refused: Refused) -> BackupError:
    """The error of a piece that can't be read."""
    if refused.code in (AccessError.code, StagingError.code):
        return error_of(refused)
    return DamagedError(f"{name}: {refused.message}", reason="io-error")
